//! What `dev` makes once: a domain with two accounts, and three commands to try them.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use postino_client::AdminClient;
use postino_client::CallError;
use postino_client::credential::{AuthError, Authenticator, Params};
use postino_config::AuthConfig;
use postino_proto::admin::v1::AddDomainRequest;
use postino_store::cluster::Gate;
use postino_types::Secret;
use tonic::{Code, Status};

use crate::admin::{AdminError, account};
use crate::ports::Ports;

const DOMAIN: &str = "example.org";
const ACCOUNTS: [&str; 2] = ["alice@example.org", "bob@example.org"];
/// Where mail for the postmaster goes.
pub(crate) const POSTMASTER: &str = ACCOUNTS[0];
const PASSWORD: &str = "postino-dev";

/// Makes the domain and the accounts, unless a file in the data directory says that it was done
/// before: what the user removed since then stays away.
pub(crate) async fn make_once(
    data: &Path,
    admin: &AdminClient,
    auth: &AuthConfig,
) -> Result<(), AdminError> {
    let done = data.join("demo-accounts");
    if done.exists() {
        return Ok(());
    }
    // Parts that an interrupted start has made are there already.
    unless_there(
        admin
            .add_domain(AddDomainRequest {
                domain: DOMAIN.into(),
            })
            .await,
    )?;
    let params = Params::new(auth);
    for address in ACCOUNTS {
        match account::add(admin, address, Secret::new(PASSWORD), &params).await {
            Err(AdminError::Call(error)) => unless_there(Err::<(), _>(error))?,
            other => other?,
        }
    }
    let text = ACCOUNTS.join("\n") + "\n";
    std::fs::write(done, text).map_err(|error| AdminError::Input(error.to_string()))
}

/// Refuses to take nodes of other machines into a cluster while a demo account has the password
/// that everybody knows: from there on it is no longer only this machine that can log in.
pub(crate) fn gate(authenticator: Authenticator) -> Gate {
    Arc::new(move |endpoint| {
        let authenticator = authenticator.clone();
        Box::pin(async move {
            if is_loopback(&endpoint) {
                return Ok(());
            }
            let password = Secret::new(PASSWORD);
            for address in ACCOUNTS {
                let login = authenticator.authenticate(address, &password);
                match login.await {
                    Err(AuthError::Rejected) => {}
                    Err(AuthError::Unavailable(why)) => return Err(Status::unavailable(why)),
                    Ok(_) => {
                        return Err(Status::failed_precondition(format!(
                            "{address} has the password that every demo has: postino account \
                             passwd {address}, or account remove, comes first"
                        )));
                    }
                }
            }
            Ok(())
        })
    })
}

/// Whether a URL names this machine by its loopback address.
fn is_loopback(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<tonic::transport::Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn unless_there<T>(outcome: Result<T, CallError>) -> Result<(), CallError> {
    match outcome {
        Err(error) if error.code() == Some(Code::AlreadyExists) => Ok(()),
        other => other.map(drop),
    }
}

/// What `dev` prints when it is ready: the ports, and commands that work as they stand.
pub(crate) fn greeting(ports: &Ports) -> String {
    let mut text = String::from("Postino is ready.\n\n");
    for (name, address) in ports {
        text += &format!("  {name:<12} {address}\n");
    }
    let [alice, bob] = ACCOUNTS;
    text += &format!("\nAccounts {alice} and {bob}, password {PASSWORD}. To try:\n\n");
    for command in commands(ports) {
        text += &format!("  {command}\n");
    }
    text
}

/// Sends a letter, reads it by IMAP, reads it by POP3.
fn commands(ports: &Ports) -> Vec<String> {
    let [alice, bob] = ACCOUNTS;
    let mut commands = Vec::new();
    if let Some(smtp) = ports.get("smtp") {
        commands.push(format!(
            "printf 'From: {alice}\\r\\nTo: {bob}\\r\\nSubject: hello\\r\\n\\r\\nHello, Bob!\\r\\n' \
             | curl -sS --mail-from {alice} --mail-rcpt {bob} -T - smtp://{smtp}/postino.test"
        ));
    }
    if let Some(imap) = ports.get("imap") {
        let url = format!("'imap://{imap}/INBOX;MAILINDEX=1'");
        commands.push(format!("curl -sS -u {bob}:{PASSWORD} {url}"));
    }
    if let Some(pop3) = ports.get("pop3") {
        commands.push(format!("curl -sS -u {bob}:{PASSWORD} pop3://{pop3}/1"));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_has_a_loopback_address() {
        for here in [
            "http://127.0.0.1:2090",
            "http://[::1]:1",
            "http://localhost:2090",
        ] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in [
            "http://10.0.0.1:2090",
            "http://[fd00::7]:1",
            "http://store-0:1",
            "x y",
        ] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
