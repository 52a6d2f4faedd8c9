//! The canonical form against CPython itself, over generated documents, valid and broken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::canonical::{payload, write_object};
use super::json::{Limits, Value, parse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const REFERENCE: &str = r#"
import base64, json, sys
STRIP = {"signature", "attestations", "zk_status", "zk_proof", "tee_status", "tee_attestation_id", "tee_quote",
         "reinvest_status", "reinvest_stake_id", "reinvest_amount"}
def refuse(name):
    raise ValueError(name)
def finite(lexeme):
    number = float(lexeme)
    if number in (float("inf"), float("-inf")):
        raise ValueError(lexeme)
    return number
def clean(value):
    if isinstance(value, dict):
        return {k: clean(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [clean(v) for v in value if v is not None]
    return value
for line in sys.stdin:
    try:
        value = json.loads(base64.b64decode(line).decode("utf-8"), parse_constant=refuse, parse_float=finite)
        if not isinstance(value, dict):
            raise ValueError("not an object")
        value = clean({k: v for k, v in value.items() if k not in STRIP})
        print("ok", json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False), flush=True)
    except ValueError:
        print("refused", flush=True)
"#;

struct Python {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    fn start() -> Option<Self> {
        let mut child = Command::new("python3")
            .args(["-c", REFERENCE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let input = child.stdin.take()?;
        let output = BufReader::new(child.stdout.take()?);
        let mut python = Self { child, input, output };
        (python.canonical(b"{}").as_deref() == Some("{}")).then_some(python)
    }

    fn canonical(&mut self, document: &[u8]) -> Option<String> {
        writeln!(self.input, "{}", STANDARD.encode(document)).ok()?;
        let mut line = String::new();
        self.output.read_line(&mut line).ok()?;
        Some(line.trim_end().strip_prefix("ok ")?.to_owned())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ours(document: &[u8]) -> Option<String> {
    match parse(document, &Limits::default()).ok()? {
        Value::Object(object) => Some(write_object(&payload(&object))),
        _ => None,
    }
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u64>()
            .prop_map(f64::from_bits)
            .prop_map(|n| if n.is_finite() { format!("{n:e}") } else { "0.5".into() }),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f32>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(|n| format!("{n:?}")),
        "-?(0|[1-9][0-9]{0,40})",
        "-?(0|[1-9][0-9]{0,22})\\.[0-9]{1,22}",
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,4})?[eE][-+]?[0-9]{1,3}",
        "-?0\\.0{0,8}[0-9]{1,18}",
        Just("-0".to_owned()),
        Just("-0.0".to_owned()),
        Just("1e-400".to_owned()),
        Just("1e400".to_owned()),
        Just("NaN".to_owned()),
        Just("9007199254740993.0".to_owned()),
    ]
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[ -~&&[^\"\\\\]]{0,8}",
        1 => any::<char>().prop_filter("no raw control", |c| *c >= ' ' && *c != '"' && *c != '\\').prop_map(String::from),
        1 => any::<u16>().prop_map(|unit| format!("\\u{unit:04X}")),
        1 => (0xd800u16..0xe000).prop_map(|unit| format!("\\u{unit:04x}")),
        1 => (0x1_0000u32..0x11_0000).prop_map(|p| char::from_u32(p).unwrap().encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect()),
        1 => prop::sample::select(vec!["\\b", "\\f", "\\n", "\\r", "\\t", "\\\"", "\\\\", "\\/", "\u{7f}"]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        string(),
        prop::sample::select(vec![
            "\"a\"",
            "\"b\"",
            "\"zk_status\"",
            "\"signature\"",
            "\"price\"",
            "\"\\u0061\""
        ])
        .prop_map(str::to_owned),
    ]
}

fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => number(),
        3 => string(),
        1 => prop::sample::select(vec!["null", "true", "false", "[]", "{ }"]).prop_map(str::to_owned),
    ];
    let value = leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|all| format!("[ {} ]", all.join(" ,\t"))),
            prop::collection::vec((key(), inner), 0..6).prop_map(|all| object(&all)),
        ]
    });
    prop::collection::vec((key(), value), 0..6).prop_map(|all| object(&all))
}

fn object(members: &[(String, String)]) -> String {
    let members: Vec<_> = members.iter().map(|(key, value)| format!("{key} : {value}")).collect();
    format!("{{{}}}", members.join(", \r"))
}

#[test]
fn canonical_bytes_and_refusals_are_those_of_cpython() {
    let Some(python) = Python::start() else {
        eprintln!("SKIPPED: python3 is not present, so the canonical form was not compared with CPython's json.dumps");
        return;
    };
    let python = RefCell::new(python);
    let config = ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let accepted = RefCell::new(0);
    proptest!(config, |(text in document(), broken in prop::option::of((any::<usize>(), any::<u8>())))| {
        let mut bytes = text.into_bytes();
        if let Some((at, value)) = broken {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let expected = python.borrow_mut().canonical(&bytes);
        *accepted.borrow_mut() += i32::from(expected.is_some());
        prop_assert_eq!(ours(&bytes), expected, "document {:?}", String::from_utf8_lossy(&bytes));
    });
    assert!(
        accepted.into_inner() > 200,
        "the generator must make documents that CPython accepts"
    );
}
