//! Recipients and identities: what is read, what is refused, and that no secret is ever repeated.

use super::*;

const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

#[test]
fn recipients_files_have_comments() {
    let text = format!("# the operator\n\n  {RECIPIENT}\r\n{RECIPIENT}\n");
    assert_eq!(Recipients::parse(&text, "keys.txt").unwrap().texts(), [RECIPIENT]);
    assert_eq!(Recipients::from_list(&[RECIPIENT], "recipients").unwrap().texts(), [RECIPIENT]);
}

#[test]
fn what_is_no_recipient_is_refused_with_its_place() {
    for (text, message) in [
        ("", "keys.txt: holds no recipient"),
        ("# nobody\n", "keys.txt: holds no recipient"),
        ("\nbob\n", "keys.txt:2: is not a recipient"),
        ("age1nonsense", "keys.txt:1: \"age1nonsense\" is not an age X25519 recipient"),
        ("ssh-ed25519 AAAA", "keys.txt:1: is not an SSH public key"),
        ("ssh-dss AAAAB3NzaC1kc3M", "keys.txt:1: "),
    ] {
        let error = Recipients::parse(text, "keys.txt").unwrap_err().to_string();
        assert!(error.starts_with(message), "{text:?} gave {error:?}");
        assert!(!error.contains('\n'));
    }
    let error = Recipients::from_list(&[RECIPIENT, "x"], "encrypt.recipients").unwrap_err().to_string();
    assert!(error.starts_with("encrypt.recipients[1]: "), "{error}");
}

#[test]
fn a_secret_is_never_repeated() {
    let key = key();
    let error = Recipients::parse(&key.secret, "keys.txt").unwrap_err().to_string();
    assert!(error.contains("treat it as leaked") && !error.contains(&key.secret[20..]), "{error}");
    let broken = format!("{}X", key.secret);
    let error = Identities::parse(&broken, "id.txt").unwrap_err().to_string();
    assert!(
        error.starts_with("id.txt:1: is not an identity") && !error.contains(&key.secret[20..]),
        "{error}"
    );
    assert_eq!(format!("{:?}", key.identities), "Identities(1)");
}

#[test]
fn what_is_no_identity_is_refused_with_its_place() {
    for (text, message) in [
        ("# none\n", "id.txt: holds no identity"),
        (RECIPIENT, "id.txt:1: is a public key"),
        ("age-encryption.org/v1\n-> scrypt", "id.txt: is itself encrypted"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n", "id.txt: is not an SSH private key"),
        ("\n\nhello", "id.txt:3: is not an identity"),
    ] {
        let error = Identities::parse(text, "id.txt").unwrap_err().to_string();
        assert!(error.starts_with(message), "{text:?} gave {error:?}");
    }
    let missing = Identities::from_file(std::path::Path::new("/nowhere/id.txt")).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/id.txt: cannot be read"), "{missing}");
}

#[test]
fn another_identity_does_not_open_it() {
    let (ours, theirs) = (key(), key());
    let object = seal_parts(&ours, &[sample(1_000)], 100);
    for read in open_both(&theirs, &object) {
        let error = read.unwrap_err();
        assert!(matches!(error, Error::NotForUs { identities: 1 }), "{error:?}");
    }
    let both = theirs.identities.join(ours.identities);
    assert_eq!(Opener::new(object.as_slice(), &both).and_then(read_stream).unwrap().0, sample(1_000));
}

#[test]
fn every_recipient_opens_it() {
    let (one, two) = (key(), key());
    let text = [one.recipients.texts(), two.recipients.texts()].concat().join("\n");
    let recipients = Recipients::parse(&text, "keys.txt").unwrap();
    let writer = Sealer::new(Vec::new(), &recipients, options(100)).unwrap();
    let object = write_parts(writer, &[sample(1_000)]);
    for key in [one, two] {
        for read in open_both(&key, &object) {
            assert_eq!(read.unwrap().0, sample(1_000));
        }
    }
}

#[test]
fn a_passphrase_object_is_refused() {
    let passphrase = age::secrecy::SecretString::from("correct horse".to_owned());
    let mut recipient = age::scrypt::Recipient::new(passphrase);
    recipient.set_work_factor(2);
    let object = age::encrypt(&recipient, b"data").unwrap();
    let error = Opener::new(object.as_slice(), &key().identities).err().unwrap();
    assert!(error.to_string().contains("passphrase"), "{error}");
}

#[test]
fn protection_is_a_choice() {
    let recipients = key().recipients;
    assert!(matches!(Protection::choose(Some(recipients.clone()), false), Ok(Protection::Sealed(_))));
    assert!(matches!(Protection::choose(None, true), Ok(Protection::Plain)));
    assert!(Protection::choose(Some(recipients), true).is_err());
    assert!(Protection::choose(None, false).is_err());
}
