//! A CA made on the spot, and a certificate of it for `localhost` and 127.0.0.1.
//!
//! `rcgen` writes the certificates; its own crypto stays off, because that would drag an X.509 parser into the lock
//! file. So the keys are `ring`'s, which the TLS server needs anyway.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring as provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::backend::base64;

/// What a TLS server shows, and what its clients must trust.
pub(super) struct Identity {
    pub(super) acceptor: TlsAcceptor,
    pub(super) ca_pem: String,
}

impl Identity {
    pub(super) fn generate() -> Identity {
        let (ca_key, key) = (Key::generate(), Key::generate());
        let mut ca = params(&[], 1);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name.push(DnType::CommonName, "testkit CA");
        let ca_pem = pem(ca.self_signed(&ca_key).expect("a certificate").der());
        let issuer = Issuer::new(ca, ca_key);

        let leaf = params(&["localhost", "127.0.0.1"], 2).signed_by(&key, &issuer).expect("a certificate");
        let chain = vec![leaf.der().clone()];
        let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let key = PrivateKeyDer::Pkcs8(key.pkcs8.clone().into());
                builder.with_no_client_auth().with_single_cert(chain, key)
            })
            .expect("key and certificate belong together");
        Identity { acceptor: TlsAcceptor::from(Arc::new(config)), ca_pem }
    }
}

pub(crate) fn params(names: &[&str], serial: u64) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).expect("the names are valid");
    params.serial_number = Some(serial.into());
    params.key_identifier_method = KeyIdMethod::PreSpecified(vec![1; 20]);
    params
}

fn pem(der: &[u8]) -> String {
    pem_of("CERTIFICATE", der)
}

pub(crate) fn pem_of(label: &str, der: &[u8]) -> String {
    let text = base64(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// An ECDSA P-256 key as `rcgen` wants it.
pub(crate) struct Key {
    pkcs8: Vec<u8>,
    pair: EcdsaKeyPair,
}

impl Key {
    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub(crate) fn generate() -> Key {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random);
        Key { pkcs8: pkcs8.as_ref().to_vec(), pair: pair.expect("the key just made") }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}
