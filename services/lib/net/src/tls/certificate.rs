//! Certificates in files, and one that is made where none is configured.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// A chain and its key, as rustls takes them.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads a chain and its key from PEM files.
pub(super) fn read(certificate: &Path, key: &Path) -> Result<Identity, TlsError> {
    let content = |path: &Path, reason: String| TlsError::Content {
        path: path.to_owned(),
        reason,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read_file(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| content(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(content(certificate, "holds no certificate".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_slice(&read_file(key)?)
        .map_err(|error| content(key, error.to_string()))?;
    Ok((chain, private))
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::File {
        path: path.to_owned(),
        error,
    })
}

/// The files of the self-signed certificate in `folder`, made if they are not there.
pub(super) fn self_signed(folder: &Path, hostname: &str) -> Result<(PathBuf, PathBuf), TlsError> {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    let (certificate_pem, key_pem) =
        make(hostname).map_err(|error| TlsError::Certificate(error.to_string()))?;
    let file = |path: &Path| {
        let path = path.to_owned();
        move |error| TlsError::File { path, error }
    };
    std::fs::create_dir_all(folder).map_err(file(folder))?;
    // The key goes first: if the certificate is there, so is its key.
    write_atomically(&key, &key_pem, 0o600).map_err(file(&key))?;
    write_atomically(&certificate, &certificate_pem, 0o644).map_err(file(&certificate))?;
    tracing::info!(certificate = %certificate.display(), hostname, "self-signed certificate made");
    Ok((certificate, key))
}

fn make(hostname: &str) -> Result<(String, String), rcgen::Error> {
    let mut names = vec![hostname.to_owned()];
    for name in ["localhost", "127.0.0.1", "::1"] {
        if name != hostname {
            names.push(name.to_owned());
        }
    }
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, hostname);
    params
        .extended_key_usages
        .push(ExtendedKeyUsagePurpose::ServerAuth);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn write_atomically(path: &Path, content: &str, mode: u32) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    // A leftover might have another mode.
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&partial)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_private_and_both_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = self_signed(folder.path(), "mail.example.org").expect("made");
        let mode = std::fs::metadata(&key).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (first, _) = read(&certificate, &key).expect("readable");
        self_signed(folder.path(), "mail.example.org").expect("kept");
        let (second, _) = read(&certificate, &key).expect("readable");
        assert_eq!(first, second);
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 2);
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").expect("written");
        let error = read(&empty, &empty).expect_err("nothing in it");
        assert!(error.to_string().contains("empty.pem"), "{error}");
    }
}
