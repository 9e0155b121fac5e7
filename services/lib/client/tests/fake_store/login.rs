//! Log-ins against a store.

use postino_client::DirectoryCache;
use postino_client::credential::{AuthError, Authenticator, Checker, Params, make};
use postino_config::{Argon2Params, AuthConfig, ByteSize};
use postino_proto::store::v1::lookup_response::Entry;
use postino_proto::store::v1::{AccountEntry, AccountState, Credential, LookupResponse};
use postino_types::{AccountId, Secret, ShardId};
use tonic::Status;

use crate::support::{Act, Node, client};

fn config() -> AuthConfig {
    let argon2 = Argon2Params {
        memory: ByteSize::kib(64),
        passes: 1,
        lanes: 1,
    };
    AuthConfig {
        argon2,
        ..AuthConfig::default()
    }
}

fn account(state: AccountState) -> LookupResponse {
    let entry = AccountEntry {
        account: 7,
        shard: 3,
        address: "alice@example.org".to_owned(),
        state: state.into(),
        moving: None,
    };
    LookupResponse {
        domain_is_local: true,
        entry: Some(Entry::Account(entry)),
    }
}

async fn authenticator(node: &Node) -> Authenticator {
    let store = client(&[&node.start().await]);
    let checker = Checker::new(&config()).expect("made");
    let made = make(&Secret::new("postino-dev"), &Params::new(&config())).expect("made");
    node.credential(Credential { epoch: 1, ..made });
    node.directory("alice@example.org", account(AccountState::Active));
    Authenticator::new(DirectoryCache::new(store), checker)
}

#[tokio::test]
async fn the_right_password_gets_in_and_nothing_else_does() {
    let node = Node::default();
    let authenticator = authenticator(&node).await;
    let right = Secret::new("postino-dev");
    let alice = authenticator
        .authenticate("Alice@Example.org", &right)
        .await
        .expect("right");
    assert_eq!(
        (alice.account, alice.shard),
        (AccountId::new(7), ShardId::new(3))
    );
    assert_eq!(alice.address.to_string(), "alice@example.org");
    for (login, password) in [
        ("alice@example.org", "postino-de"),
        ("alice@example.org", ""),
        ("nobody@example.org", "postino-dev"),
        ("alice", "postino-dev"),
        ("", ""),
    ] {
        let rejected = authenticator
            .authenticate(login, &Secret::new(password))
            .await;
        assert_eq!(rejected, Err(AuthError::Rejected), "{login:?} {password:?}");
    }
}

#[tokio::test]
async fn an_account_on_its_way_in_or_out_does_not_log_in() {
    let node = Node::default();
    let authenticator = authenticator(&node).await;
    let right = Secret::new("postino-dev");
    node.directory("new@example.org", account(AccountState::Creating));
    node.directory("gone@example.org", account(AccountState::Removing));
    let new = authenticator.authenticate("new@example.org", &right).await;
    assert!(matches!(new, Err(AuthError::Unavailable(_))));
    let gone = authenticator.authenticate("gone@example.org", &right).await;
    assert_eq!(gone, Err(AuthError::Rejected));
}

#[tokio::test]
async fn a_store_that_fails_rejects_nobody() {
    let node = Node::default();
    let authenticator = authenticator(&node).await;
    node.script("get_credential", [Act::Refuse(Status::internal("broken"))]);
    let right = Secret::new("postino-dev");
    let error = authenticator
        .authenticate("alice@example.org", &right)
        .await;
    assert!(matches!(error, Err(AuthError::Unavailable(_))));
}
