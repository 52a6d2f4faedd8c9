//! CPython's `json.dumps(value, separators=(",", ":"), sort_keys=True)` after nulls are dropped: the bytes a receipt's key signs.

use super::json::{Object, Text, Value};

/// Keys the coordinator adds after signing; stripped at the top level, never a ground for payment.
pub const POST_SIGNING_KEYS: [&str; 8] = [
    "zk_status",
    "zk_proof",
    "tee_status",
    "tee_attestation_id",
    "tee_quote",
    "reinvest_status",
    "reinvest_stake_id",
    "reinvest_amount",
];
/// Keys that hold the signatures themselves.
pub const SIGNATURE_KEYS: [&str; 2] = ["signature", "attestations"];

/// The signed payload of a receipt: without signatures, post-signing keys and nulls at any depth.
pub fn payload(receipt: &Object) -> Object {
    let stripped: Vec<Text> = SIGNATURE_KEYS
        .iter()
        .chain(&POST_SIGNING_KEYS)
        .map(|key| Text::from(*key))
        .collect();
    receipt
        .iter()
        .filter(|(key, _)| !stripped.contains(key))
        .filter_map(|(key, value)| Some((key.clone(), without_nulls(value)?)))
        .collect()
}

/// Empty objects and arrays stay, even where they became empty.
fn without_nulls(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Null => return None,
        Value::Array(elements) => Value::Array(elements.iter().filter_map(without_nulls).collect()),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), without_nulls(value)?)))
                .collect(),
        ),
        other => other.clone(),
    })
}

/// The canonical text of an object, ASCII only.
pub fn write_object(object: &Object) -> String {
    let mut out = String::new();
    put_object(&mut out, object);
    out
}

fn put(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Integer(lexeme) => out.push_str(lexeme),
        Value::Float(number) => out.push_str(&float_repr(*number)),
        Value::String(text) => put_text(out, text),
        Value::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                put(out, element);
            }
            out.push(']');
        }
        Value::Object(members) => put_object(out, members),
    }
}

fn put_object(out: &mut String, members: &Object) {
    out.push('{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        put_text(out, key);
        out.push(':');
        put(out, value);
    }
    out.push('}');
}

fn put_text(out: &mut String, text: &Text) {
    out.push('"');
    for point in &text.0 {
        match char::from_u32(*point) {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{c}') => out.push_str("\\f"),
            Some(c @ ' '..='~') => out.push(c),
            Some(c) => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    put_escape(out, u32::from(*unit));
                }
            }
            None => put_escape(out, *point), // a lone surrogate
        }
    }
    out.push('"');
}

fn put_escape(out: &mut String, unit: u32) {
    out.push_str(&format!("\\u{unit:04x}"));
}

/// CPython's `repr` of a finite float: the shortest digits that read back the same; fixed notation for decimal exponents
/// -4 to 15, else `d.ddde+XX` with at least two exponent digits.
pub fn float_repr(number: f64) -> String {
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format_finite(number);
    let (sign, shortest) = match shortest.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", shortest),
    };
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0); // ryu writes a plain integer
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    if significant.is_empty() {
        return format!("{sign}0.0");
    }
    // Position of the decimal point relative to the first significant digit.
    let leading = len_i32(&all).saturating_sub(len_i32(significant));
    let point = len_i32(whole).saturating_sub(leading).saturating_add(exponent);
    let digits = significant.trim_end_matches('0');
    format!("{sign}{}", place_point(digits, point))
}

/// `0.digits * 10^point` in CPython's notation.
fn place_point(digits: &str, point: i32) -> String {
    let count = len_i32(digits);
    if (-3..=0).contains(&point) {
        format!("0.{}{digits}", zeros(point.saturating_neg()))
    } else if point > 0 && point <= 16 {
        match digits.split_at_checked(usize::try_from(point).unwrap_or(usize::MAX)) {
            Some((whole, fraction)) if !fraction.is_empty() => format!("{whole}.{fraction}"),
            _ => format!("{digits}{}.0", zeros(point.saturating_sub(count))),
        }
    } else {
        let exponent = point.saturating_sub(1);
        let sign = if exponent < 0 { '-' } else { '+' };
        let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
        let dot = if rest.is_empty() { "" } else { "." };
        format!("{first}{dot}{rest}e{sign}{:02}", exponent.unsigned_abs())
    }
}

/// At most 17 significant digits and 308 of exponent pass through here.
fn len_i32(text: &str) -> i32 {
    i32::try_from(text.len()).unwrap_or(i32::MAX)
}

fn zeros(count: i32) -> String {
    "0".repeat(usize::try_from(count).unwrap_or(0))
}
