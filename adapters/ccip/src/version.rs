//! Which protocol a lane speaks: said by its ramps, never by configuration, since CCIP moves lanes at will.

use std::fmt;

/// A generation of CCIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Recognised and refused.
    V1_5,
    V1_6,
    V2_0,
}

impl Version {
    /// What `typeAndVersion()` of a ramp says, e.g. `OnRamp 1.6.0` or `EVM2EVMOnRamp 1.5.0`; None for a generation nobody has built yet.
    pub fn parse(type_and_version: &str) -> Option<Self> {
        let number = type_and_version.rsplit(' ').next()?;
        let mut parts = number.split(['.', '-']);
        match (parts.next()?, parts.next()?) {
            ("1", "5") => Some(Self::V1_5),
            ("1", "6") => Some(Self::V1_6),
            ("2", "0") => Some(Self::V2_0),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_5 => "1.5",
            Self::V1_6 => "1.6",
            Self::V2_0 => "2.0",
        })
    }
}
