//! Keys of SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677).

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

/// What a server needs to check a SCRAM client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) stored_key: [u8; 32],
    pub(super) server_key: [u8; 32],
}

/// The keys of a prepared password.
pub(super) fn keys(password: &str, salt: &[u8], iterations: NonZeroU32) -> Keys {
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        password.as_bytes(),
        salted.as_mut(),
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, salted.as_ref());
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    Keys {
        stored_key: array(stored_key.as_ref()),
        server_key: array(server_key.as_ref()),
    }
}

fn array(octets: &[u8]) -> [u8; 32] {
    octets.try_into().expect("SHA-256 gives 32 octets")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677 section 3: user "user", password "pencil".
    #[test]
    fn the_example_of_the_rfc_verifies() {
        let decode = |text: &str| {
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let bits = text
                .bytes()
                .filter(|b| *b != b'=')
                .fold(Vec::new(), |mut bits, byte| {
                    let value = alphabet.iter().position(|c| *c == byte).expect("base64");
                    bits.extend((0..6).rev().map(|bit| (value >> bit) & 1));
                    bits
                });
            let octet = |bits: &[usize]| bits.iter().fold(0usize, |o, bit| (o << 1) | bit);
            bits.chunks_exact(8)
                .map(|b| u8::try_from(octet(b)).expect("8 bits"))
                .collect::<Vec<_>>()
        };
        let salt = decode("W22ZaJ0SNY7soEsUEjb6gQ==");
        let keys = keys("pencil", &salt, NonZeroU32::new(4096).expect("not zero"));
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                       r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                       c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let sign =
            |key: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes());
        let server = sign(&keys.server_key);
        assert_eq!(
            server.as_ref(),
            decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        );
        // The client's proof is its key, hidden by the signature under the stored key.
        let proof = decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let signature = sign(&keys.stored_key);
        let client_key: Vec<u8> = proof
            .iter()
            .zip(signature.as_ref())
            .map(|(p, s)| p ^ s)
            .collect();
        let stored = digest::digest(&digest::SHA256, &client_key);
        assert_eq!(stored.as_ref(), keys.stored_key);
    }
}
