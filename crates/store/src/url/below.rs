//! Which part of a URL lies below another one, so that many replicas share one client.

use super::{S3Url, StoreUrl, Target};

impl StoreUrl {
    /// The keys' prefix at which `self` lies in the store of `common` (no slashes at its ends, empty for the same place), or
    /// `None` if it lies elsewhere or is reached in another way.
    pub fn below(&self, common: &StoreUrl) -> Option<String> {
        match (&self.target, &common.target) {
            (Target::S3(url), Target::S3(common)) => {
                let alike = S3Url { prefix: common.prefix.clone(), ..url.clone() };
                let rest = url.prefix.strip_prefix(common.prefix.as_str()).filter(|_| alike == *common)?;
                let inside = common.prefix.is_empty() || rest.is_empty() || rest.starts_with('/');
                inside.then(|| rest.trim_start_matches('/').to_owned())
            }
            // A common directory has to exist (an unmounted share must not look like an empty replica, P6); what lies below it
            // is ours to create.
            (Target::File(url), Target::File(common)) => {
                Some(url.path.strip_prefix(&common.path).ok()?.to_str()?.to_owned())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p4_only_what_is_reached_in_the_same_way_shares_a_client() {
        let below =
            |url: &str, common: &str| StoreUrl::parse(url).unwrap().below(&StoreUrl::parse(common).unwrap());
        assert_eq!(below("s3://bbb/p/sqlite/x.db", "s3://bbb/p").as_deref(), Some("sqlite/x.db"));
        assert_eq!(below("s3://bbb/p", "s3://bbb/p").as_deref(), Some(""));
        assert_eq!(below("s3://bbb/p/x", "s3://bbb").as_deref(), Some("p/x"));
        assert_eq!(below("s3://bbb/pq/x", "s3://bbb/p"), None);
        assert_eq!(below("s3://bbb/p/x?region=eu", "s3://bbb/p"), None);
        assert_eq!(below("s3://ccc/p/x", "s3://bbb/p"), None);
        assert_eq!(below("file:///n/p/x", "file:///n/p").as_deref(), Some("x"));
        assert_eq!(below("file:///n/pq", "file:///n/p"), None);
        assert_eq!(below("file:///bbb/p", "s3://bbb/p"), None);
    }
}
