//! A certificate authority made on the spot, and certificates of it: valid, expired, for servers and clients.
//!
//! Keys are P-256 by `ring`, certificates by `rcgen`, as in the S3 server's TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    date_time_ymd,
};

use crate::s3::tls::{Key, params, pem_of};

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Now,
    /// Until the year 2001.
    Expired,
}

/// PEM files of one certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// An authority; its files lie in a directory of the caller.
pub struct Pki {
    dir: PathBuf,
    issuer: Issuer<'static, Key>,
    serial: AtomicU64,
}

impl Pki {
    /// A new authority, its certificate in `dir/<name>-ca.crt`.
    pub fn new(dir: &Path, name: &str) -> Pki {
        let key = Key::generate();
        let mut ca = params(&[], 1);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name.push(DnType::CommonName, name);
        let file = dir.join(format!("{name}-ca.crt"));
        let cert = ca.self_signed(&key).expect("a certificate");
        fs::write(file, pem_of("CERTIFICATE", cert.der())).expect("the directory is writable");
        Pki { dir: dir.join(name), issuer: Issuer::new(ca, key), serial: AtomicU64::new(2) }
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir
            .with_file_name(format!("{}-ca.crt", self.dir.file_name().unwrap_or_default().to_string_lossy()))
    }

    /// A certificate for these names, good for servers and clients.
    pub fn issue(&self, name: &str, names: &[&str], validity: Validity) -> Certificate {
        let key = Key::generate();
        let mut leaf: CertificateParams = params(names, self.serial.fetch_add(1, Ordering::Relaxed));
        leaf.distinguished_name.push(DnType::CommonName, name);
        leaf.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if validity == Validity::Expired {
            leaf.not_before = date_time_ymd(2000, 1, 1);
            leaf.not_after = date_time_ymd(2001, 1, 1);
        }
        let cert = leaf.signed_by(&key, &self.issuer).expect("a certificate");
        let stem = format!("{}-{name}", self.dir.display());
        let files = Certificate { cert: format!("{stem}.crt").into(), key: format!("{stem}.key").into() };
        fs::write(&files.cert, pem_of("CERTIFICATE", cert.der())).expect("the directory is writable");
        fs::write(&files.key, pem_of("PRIVATE KEY", key.pkcs8())).expect("the directory is writable");
        files
    }
}
