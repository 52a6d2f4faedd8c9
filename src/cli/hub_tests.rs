#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::hub::model::Document;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/nocust/vectors.json");

fn verify_path(path: &Path) -> Result<Exit, Failure> {
    verify_file(VerifyArgs { file: path.to_owned() }, &Output { json: true })
}

fn checkpoint() -> Document {
    parse(&std::fs::read(VECTORS).unwrap()).unwrap().remove(2)
}

#[test]
fn a_checkpoint_that_holds_ends_with_0_and_any_other_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("checkpoint.json");
    let mut document = checkpoint();
    std::fs::write(&path, serde_json::to_vec(&document).unwrap()).unwrap();
    assert_eq!(verify_path(&path).unwrap(), Exit::Ok);
    assert_eq!(verify_path(Path::new(VECTORS)).unwrap(), Exit::Ok);

    document.tokens[0].accounts[0].passive_amount.0 += alloy::primitives::U256::from(1);
    std::fs::write(&path, serde_json::to_vec(&document).unwrap()).unwrap();
    let failure = verify_path(&path).unwrap_err();
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::Failed, "RLY-HUB-003"));

    std::fs::write(&path, b"{}").unwrap();
    let failure = verify_path(&path).unwrap_err();
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::Failed, "RLY-HUB-001"));
    assert_eq!(verify_path(&dir.path().join("none")).unwrap_err().exit, Exit::Usage);
}

#[test]
fn the_table_shows_every_verdict() {
    let mut document = checkpoint();
    document.tokens[1].token_leaf = alloy::primitives::B256::ZERO;
    insta::assert_snapshot!(print(&verify(&[document])));
}
