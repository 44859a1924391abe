//! Names of LTX files: `<min>-<max>.ltx`, sixteen hex digits each.
//!
//! Everything else in a level directory is no LTX file and is passed over, which makes room for
//! temporary and side files.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::txid::Txid;

/// The range of transactions a file covers, as its name says it. Sorts like the names do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// The first transaction in the file.
    pub min: Txid,
    /// The last transaction in the file.
    pub max: Txid,
}

impl FileName {
    /// `None` when the text is no name of an LTX file.
    pub fn parse(text: &str) -> Option<FileName> {
        text.parse().ok()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}.ltx", self.min, self.max)
    }
}

impl FromStr for FileName {
    type Err = Error;

    fn from_str(text: &str) -> Result<FileName> {
        let (min, max) = text
            .strip_suffix(".ltx")
            .and_then(|stem| stem.split_once('-'))
            .ok_or(Error::Name { rule: "a file name is <min>-<max>.ltx" })?;
        let (min, max) = (min.parse::<Txid>()?, max.parse::<Txid>()?);
        if min > max {
            return Err(Error::Name { rule: "the first transaction id is above the last" });
        }
        Ok(FileName { min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_names() {
        let good = "0000000000000001-00000000000000ff.ltx";
        assert_eq!(FileName::parse(good).unwrap().to_string(), good);
        for bad in [
            "",
            ".ltx",
            "-.ltx",
            "0000000000000001-00000000000000ff",
            "0000000000000001-00000000000000ff.ltx.tmp",
            "0000000000000001-00000000000000FF.ltx",
            "0000000000000002-0000000000000001.ltx",
            "0000000000000000-0000000000000001.ltx",
            "0000000000000001-00000000000000ff-0000000000000001.ltx",
            " 0000000000000001-00000000000000ff.ltx",
            "1-2.ltx",
        ] {
            assert_eq!(FileName::parse(bad), None, "{bad}");
        }
    }
}
