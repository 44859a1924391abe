//! A small bbolt file as etcd writes one, made by hand: two metas, a leaf of buckets, a leaf of revisions. For tests of everything that reads
//! snapshots, where no etcd is needed to make one.

use sha2::{Digest, Sha256};

const PAGE: usize = 4096;
/// UID of the namespace kube-system in it.
pub const UID: &str = "7d1c0b6e-21ab-4c93-9d1f-5a5f3c8a9b01";

/// Keys and values of a small Kubernetes.
pub fn kubernetes() -> Vec<(String, Vec<u8>)> {
    let namespace = format!(r#"{{"kind":"Namespace","metadata":{{"name":"kube-system","uid":"{UID}"}}}}"#);
    let mut pairs = vec![("/registry/namespaces/kube-system".to_owned(), namespace.into_bytes())];
    for index in 0..60 {
        pairs.push((
            format!("/registry/secrets/default/s{index:03}"),
            format!("value-{index}-{}", "x".repeat(150)).into_bytes(),
        ));
    }
    pairs
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of bytes.
pub fn bytes_field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(number << 3 | 2, &mut out);
    varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

/// A field with a number.
pub fn number_field(number: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(number << 3, &mut out);
    varint(value, &mut out);
    out
}

fn leaf(id: u64, elements: &[(u32, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut heads = Vec::new();
    let mut data = Vec::new();
    for (index, (flags, key, value)) in elements.iter().enumerate() {
        let pos = (elements.len() - index) * 16 + data.len();
        for number in [*flags, pos as u32, key.len() as u32, value.len() as u32] {
            heads.extend_from_slice(&number.to_le_bytes());
        }
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    let pages = (16 + heads.len() + data.len()).div_ceil(PAGE);
    let mut page = Vec::new();
    page.extend_from_slice(&id.to_le_bytes());
    page.extend_from_slice(&2u16.to_le_bytes());
    page.extend_from_slice(&(elements.len() as u16).to_le_bytes());
    page.extend_from_slice(&(pages as u32 - 1).to_le_bytes());
    page.extend(heads);
    page.extend(data);
    page.resize(pages * PAGE, 0);
    page
}

fn meta(id: u64, root: u64, pages: u64, txid: u64) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    page[..8].copy_from_slice(&id.to_le_bytes());
    page[8] = 4;
    let mut body = Vec::new();
    for number in [0xED0C_DAEDu32, 2, PAGE as u32, 0] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    for number in [root, 0, u64::MAX, pages, txid] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    let sum = body.iter().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    body.extend_from_slice(&sum.to_le_bytes());
    page[16..16 + body.len()].copy_from_slice(&body);
    page
}

/// The file with its trailer; revisions count from 2.
pub fn snapshot(pairs: &[(String, Vec<u8>)]) -> Vec<u8> {
    let rows: Vec<_> = pairs
        .iter()
        .enumerate()
        .map(|(index, (key, value))| {
            let mut revision = (index as u64 + 2).to_be_bytes().to_vec();
            revision.push(b'_');
            revision.extend_from_slice(&0u64.to_be_bytes());
            (0, revision, [bytes_field(1, key.as_bytes()), bytes_field(5, value)].concat())
        })
        .collect();
    let keys = leaf(3, &rows);
    let inline = |elements: &[(u32, Vec<u8>, Vec<u8>)]| {
        let page = leaf(0, elements);
        let used = 16 + elements.iter().map(|(_, key, value)| 16 + key.len() + value.len()).sum::<usize>();
        [vec![0; 16], page[..used].to_vec()].concat()
    };
    let index = (0, b"consistent_index".to_vec(), 99u64.to_be_bytes().to_vec());
    let bucket = [3u64.to_le_bytes(), 0u64.to_le_bytes()].concat();
    let root = leaf(2, &[(1, b"key".to_vec(), bucket), (1, b"meta".to_vec(), inline(&[index]))]);
    let pages = 3 + (keys.len() / PAGE) as u64;
    let mut file = [meta(0, 2, pages, 9), meta(1, 2, pages, 8), root, keys].concat();
    let digest = Sha256::digest(&file);
    file.extend_from_slice(&digest);
    file
}
