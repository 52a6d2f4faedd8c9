//! G9 at the start: a chain that does not answer keeps nobody from starting.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relayer_e2e::harness::{PATIENCE, World, error_code, fresh_payee};
use relayer_e2e::relayer_process::built;
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

/// Time-out of a call, the start's own patience, and room for a busy machine.
const START: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_start_with_a_dead_target_answers_and_remembers_what_never_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::prepare(folder.path(), &|_, _| {}).await.unwrap();
    let target = &world.devnet.target.anvil;
    let signed = world.signed(fresh_payee("of a dead target").unwrap(), 3).await.unwrap();

    // The very first start: nobody has ever told the exit delay, so no deadline can be judged yet.
    target.freeze().unwrap();
    world.relayer.spawn().unwrap();
    world.relayer.wait_ready(START).await.unwrap();
    let status = world
        .client()
        .await
        .unwrap()
        .submit(signed.request.clone())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(error_code(&status), "RLY-INTAKE-042", "{status}");
    assert!(status.message().contains("target not ready"), "{status}");
    target.thaw().unwrap();
    // First the chain is read, then the deposit is final.
    let until = Instant::now() + PATIENCE;
    while let Err(status) = world.client().await.unwrap().submit(signed.request.clone()).await {
        assert!(Instant::now() < until, "never accepted: {status}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    // A later start knows it from the database, and the head it has seen before.
    world.relayer.kill().unwrap();
    let again = world.signed(fresh_payee("of a dead target").unwrap(), 5).await.unwrap();
    world.devnet.target.anvil.freeze().unwrap();
    world.relayer.spawn().unwrap();
    world.relayer.wait_ready(START).await.unwrap();
    world.submit(&again).await.unwrap();
    // A stop does not wait for the chain either.
    world.relayer.stop().await.unwrap();
    world.devnet.target.anvil.thaw().unwrap();
    world.relayer.start().await.unwrap();
    world
        .wait_states(&[signed.id, again.id], &["settled"], PATIENCE)
        .await
        .unwrap();
}

#[test]
fn an_unknown_role_is_refused_with_the_list_of_roles() {
    let output = Command::new(built("relayer").unwrap())
        .args(["serve", "--roles", "api,cook"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("RLY-CONFIG-001") && text.contains("unknown role \"cook\""),
        "{text}"
    );
    assert!(text.contains("api, engine and observer"), "{text}");
}
