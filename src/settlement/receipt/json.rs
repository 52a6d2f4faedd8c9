//! A JSON reader that keeps what CPython keeps: integers at any size, floats as doubles, strings as code points (lone
//! surrogates included), duplicate keys last wins. A library that goes through UTF-8 strings and plain numbers loses some of it.

use std::collections::BTreeMap;

/// CPython refuses to convert longer integers (`sys.int_info.default_max_str_digits`).
const INTEGER_DIGITS_MAX: usize = 4300;

/// Why bytes are not a JSON document we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("{bytes} bytes, more than {max}")]
    TooLong { bytes: usize, max: usize },
    #[error("nested deeper than {max}")]
    TooDeep { max: usize },
    #[error("not UTF-8")]
    NotUtf8,
    #[error("not JSON at byte {at}")]
    Syntax { at: usize },
    #[error("number at byte {at} is not finite or too long")]
    Number { at: usize },
}

/// Bounds on a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub bytes_max: usize,
    pub depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 256 * 1024,
            depth_max: 64,
        }
    }
}

/// Text as code points, so that keys sort as CPython sorts them and lone surrogates survive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_debug_implementations)]
pub struct Text(pub(super) Vec<u32>);

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.chars().map(u32::from).collect())
    }
}

impl Text {
    /// The text, unless it holds a lone surrogate.
    pub fn to_utf8(&self) -> Option<String> {
        self.0.iter().map(|point| char::from_u32(*point)).collect()
    }
}

/// Object members in code point order.
pub type Object = BTreeMap<Text, Value>;

/// A JSON value. It has no `Debug`: receipts carry prompts and results, which are never logged.
#[derive(Clone, PartialEq)]
#[allow(missing_debug_implementations)]
pub enum Value {
    Null,
    Bool(bool),
    /// Lexeme without fraction and exponent; `-0` is stored as `0`.
    Integer(String),
    Float(f64),
    String(Text),
    Array(Vec<Value>),
    Object(Object),
}

/// Reads exactly one document.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Value, JsonError> {
    if bytes.len() > limits.bytes_max {
        return Err(JsonError::TooLong {
            bytes: bytes.len(),
            max: limits.bytes_max,
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)?;
    let mut parser = Parser {
        text,
        rest: text,
        depth_max: limits.depth_max,
    };
    parser.skip_space();
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.rest.is_empty() {
        Ok(value)
    } else {
        Err(parser.syntax())
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    depth_max: usize,
}

impl<'a> Parser<'a> {
    fn at(&self) -> usize {
        self.text.len().saturating_sub(self.rest.len())
    }

    fn syntax(&self) -> JsonError {
        JsonError::Syntax { at: self.at() }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    /// `depth` counts the arrays and objects around this value.
    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        match self.rest.as_bytes().first() {
            Some(b'{') => self.nested(depth, Self::object),
            Some(b'[') => self.nested(depth, Self::array),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.eat("null") => Ok(Value::Null),
            _ if self.eat("true") => Ok(Value::Bool(true)),
            _ if self.eat("false") => Ok(Value::Bool(false)),
            _ => Err(self.syntax()),
        }
    }

    fn nested(
        &mut self,
        depth: usize,
        read: fn(&mut Self, usize) -> Result<Value, JsonError>,
    ) -> Result<Value, JsonError> {
        if depth >= self.depth_max {
            return Err(JsonError::TooDeep { max: self.depth_max });
        }
        self.next();
        self.skip_space();
        read(self, depth.saturating_add(1))
    }

    fn object(&mut self, depth: usize) -> Result<Value, JsonError> {
        let mut members = Object::new();
        if self.eat("}") {
            return Ok(Value::Object(members));
        }
        loop {
            if !self.rest.starts_with('"') {
                return Err(self.syntax());
            }
            let key = self.string()?;
            self.skip_space();
            if !self.eat(":") {
                return Err(self.syntax());
            }
            self.skip_space();
            let value = self.value(depth)?;
            members.insert(key, value);
            self.skip_space();
            if self.eat("}") {
                return Ok(Value::Object(members));
            }
            if !self.eat(",") {
                return Err(self.syntax());
            }
            self.skip_space();
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, JsonError> {
        let mut elements = Vec::new();
        if self.eat("]") {
            return Ok(Value::Array(elements));
        }
        loop {
            elements.push(self.value(depth)?);
            self.skip_space();
            if self.eat("]") {
                return Ok(Value::Array(elements));
            }
            if !self.eat(",") {
                return Err(self.syntax());
            }
            self.skip_space();
        }
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let at = self.at();
        let start = self.rest;
        self.eat("-");
        if !self.eat("0") && self.digits() == 0 {
            return Err(self.syntax());
        }
        let mut is_float = false;
        if self.eat(".") {
            is_float = true;
            if self.digits() == 0 {
                return Err(self.syntax());
            }
        }
        if self.eat("e") || self.eat("E") {
            is_float = true;
            if !self.eat("+") {
                self.eat("-");
            }
            if self.digits() == 0 {
                return Err(self.syntax());
            }
        }
        let lexeme = start.strip_suffix(self.rest).unwrap_or(start);
        if is_float {
            return match lexeme.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Float(number)),
                _ => Err(JsonError::Number { at }),
            };
        }
        if lexeme.trim_start_matches('-').len() > INTEGER_DIGITS_MAX {
            return Err(JsonError::Number { at });
        }
        let canonical = if lexeme == "-0" { "0" } else { lexeme };
        Ok(Value::Integer(canonical.to_owned()))
    }

    fn digits(&mut self) -> usize {
        let before = self.rest.len();
        self.rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        before.saturating_sub(self.rest.len())
    }

    fn string(&mut self) -> Result<Text, JsonError> {
        self.next(); // the opening quote, which the caller has seen
        let mut points = Vec::new();
        loop {
            let at_error = self.syntax();
            match self.next() {
                Some('"') => return Ok(Text(points)),
                Some('\\') => points.push(self.escape()?),
                Some(c) if c >= ' ' => points.push(u32::from(c)),
                _ => return Err(at_error),
            }
        }
    }

    fn escape(&mut self) -> Result<u32, JsonError> {
        let at_error = self.syntax();
        let point = match self.next() {
            Some(c @ ('"' | '\\' | '/')) => u32::from(c),
            Some('b') => 0x08,
            Some('f') => 0x0c,
            Some('n') => 0x0a,
            Some('r') => 0x0d,
            Some('t') => 0x09,
            Some('u') => return self.unicode_escape(),
            _ => return Err(at_error),
        };
        Ok(point)
    }

    /// A high surrogate joins with a low one that follows as an escape; alone, either stays as it is.
    fn unicode_escape(&mut self) -> Result<u32, JsonError> {
        let high = self.hex4()?;
        if !(0xd800..0xdc00).contains(&high) {
            return Ok(high);
        }
        let before_low = self.rest;
        if self.eat("\\u") {
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                let upper = (high & 0x3ff).wrapping_shl(10);
                return Ok((upper | (low & 0x3ff)).saturating_add(0x1_0000));
            }
            self.rest = before_low;
        }
        Ok(high)
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let (digits, rest) = self.rest.split_at_checked(4).ok_or_else(|| self.syntax())?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.syntax());
        }
        self.rest = rest;
        u32::from_str_radix(digits, 16).map_err(|_| self.syntax())
    }
}
