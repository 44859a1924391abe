//! The SDK's client, configured: no hidden retries, no hidden checksums, one TLS stack, certificates always checked.

use super::credentials::Credentials;
use super::wire::{Watch, Wire};
use crate::url::{Profile, S3Url};
use crate::{Error, OpenConfig, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Idle connections are closed before most servers close them.
const POOL_IDLE: Duration = Duration::from_secs(20);

pub(super) fn connect(
    url: &S3Url,
    config: &OpenConfig,
    credentials: &Credentials,
) -> Result<(Client, Arc<Watch>)> {
    let plain = url.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let inner = if plain {
        Builder::new().pool_idle_timeout(POOL_IDLE).build_http()
    } else {
        let trust = match &url.ca {
            Some(path) => TrustStore::empty().with_pem_certificate(read_ca(path)?),
            None => TrustStore::default(),
        };
        let tls = TlsContext::builder().with_trust_store(trust).build();
        let tls = tls.map_err(|e| Error::Refused(format!("tls: {e}")))?;
        let builder = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls);
        builder.pool_idle_timeout(POOL_IDLE).build_https()
    };
    let watch = Arc::new(Watch {
        clock: config.clock.clone(),
        idle: config.idle,
        forbid_minio: url.forbid_minio,
        date: Mutex::default(),
    });
    let mut builder = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region(url, config.env)))
        .force_path_style(url.path_style)
        .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
        .identity_cache(IdentityCache::no_cache())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(config.connect).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .http_client(SharedHttpClient::new(Wire { inner, watch: watch.clone() }));
    if let Some(endpoint) = &url.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    if let Ok(name) = AppName::new("highwater") {
        builder = builder.app_name(name);
    }
    Ok((Client::from_conf(builder.build()), watch))
}

fn region(url: &S3Url, env: fn(&str) -> Option<String>) -> String {
    let given = url.region.clone();
    let known = (url.profile == Some(Profile::R2)).then(|| "auto".to_owned());
    let surroundings = || {
        let amazon = url.endpoint.is_none();
        amazon.then(|| env("AWS_REGION").or_else(|| env("AWS_DEFAULT_REGION"))).flatten()
    };
    given.or(known).or_else(surroundings).unwrap_or_else(|| "us-east-1".to_owned())
}

/// The certificates of a PEM file, checked here because the TLS stack panics on broken ones.
fn read_ca(path: &Path) -> Result<Vec<u8>> {
    let refuse = |why: String| Error::Refused(format!("ca={}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|e| refuse(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| refuse(format!("not a PEM file: {e}")))?;
        roots.add(certificate).map_err(|e| refuse(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refuse("holds no certificate".to_owned()));
    }
    Ok(pem)
}
