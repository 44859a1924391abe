//! `$VAR` and `${VAR}`, as Litestream expands them in the whole file before it is read.

/// The expanded text.
pub(super) struct Expanded {
    pub(super) text: String,
    /// Variables that stand in it still, because nobody set them.
    pub(super) unset: Vec<String>,
}

/// Replaces what is set; what is not set stays, so that a value that needs it can be refused by name.
pub(super) fn expand(text: &str, variables: Option<fn(&str) -> Option<String>>) -> Expanded {
    let Some(lookup) = variables else { return Expanded { text: text.to_owned(), unset: Vec::new() } };
    let (mut out, mut unset, mut rest) = (String::with_capacity(text.len()), Vec::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some((name, length)) = name_of(rest) else {
            out.push('$');
            rest = &rest[1..];
            continue;
        };
        match lookup(name) {
            Some(value) => out.push_str(&value),
            None => {
                unset.push(name.to_owned());
                out.push_str(&rest[..length]);
            }
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    Expanded { text: out, unset }
}

/// The name behind a `$` and how long both are.
fn name_of(text: &str) -> Option<(&str, usize)> {
    let named = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if let Some(braced) = text.strip_prefix("${") {
        let end = braced.find('}')?;
        let name = &braced[..end];
        return (!name.is_empty() && name.chars().all(named)).then_some((name, end + 3));
    }
    let bare = &text[1..];
    let end = bare.find(|c| !named(c)).unwrap_or(bare.len());
    (end > 0 && !bare.starts_with(|c: char| c.is_ascii_digit())).then_some((&bare[..end], end + 1))
}

/// Whether a value still holds this variable.
pub(super) fn mentions(text: &str, name: &str) -> bool {
    text.match_indices('$').any(|(at, _)| name_of(&text[at..]).is_some_and(|(found, _)| found == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_ones_are_replaced_and_unset_ones_are_named() {
        let lookup = |name: &str| (name == "BUCKET").then(|| "backups".to_owned());
        let expanded = expand("a: $BUCKET/${BUCKET}x\nb: ${NO_SUCH} $1 $ 100$", Some(lookup));
        assert_eq!(expanded.text, "a: backups/backupsx\nb: ${NO_SUCH} $1 $ 100$");
        assert_eq!(expanded.unset, ["NO_SUCH"]);
        assert!(mentions("x-${NO_SUCH}", "NO_SUCH") && !mentions("x-${NO_SUCH_THING}", "NO_SUCH"));
        assert_eq!(expand("$BUCKET", None).text, "$BUCKET");
    }
}
