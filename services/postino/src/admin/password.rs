//! Passwords on their way from the operator to a credential.

use std::io::BufRead as _;

use postino_client::AdminClient;
use postino_client::credential::{Params, make};
use postino_proto::admin::v1::GetCredentialCostRequest;
use postino_proto::store::v1::Credential;
use postino_types::Secret;

use super::AdminError;

/// Reads a password from standard input: the first line, without its end.
pub(crate) fn from_stdin() -> Result<Secret, AdminError> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| AdminError::Input(format!("standard input: {error}")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(AdminError::Input("no password on standard input".into()));
    }
    Ok(Secret::new(password))
}

/// What the running system makes credentials of. It tells, since only the hash travels there.
pub(crate) async fn params(admin: &AdminClient) -> Result<Params, AdminError> {
    let cost = admin
        .get_credential_cost(GetCredentialCostRequest {})
        .await?;
    Ok(cost.into())
}

/// Makes the credential of a password; the plaintext never leaves this process.
pub(crate) async fn credential(
    password: Secret,
    params: &Params,
) -> Result<Credential, AdminError> {
    let params = params.clone();
    let made = tokio::task::spawn_blocking(move || make(&password, &params)).await;
    Ok(made.map_err(|error| AdminError::Input(error.to_string()))??)
}
