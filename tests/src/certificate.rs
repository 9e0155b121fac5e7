//! Self-signed certificates for the servers of tests.

use std::path::Path;

use anyhow::Result;

use crate::program::run;

/// Writes a certificate for `host` to `certificate.pem` and its key to `key.pem`.
pub async fn make(directory: &Path, host: &str) -> Result<()> {
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    let subject = format!("/CN={host}");
    let arguments = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        &subject,
        "-out",
        &certificate.to_string_lossy(),
        "-keyout",
        &key.to_string_lossy(),
    ];
    run("openssl", &arguments).await?.success().map(drop)
}
