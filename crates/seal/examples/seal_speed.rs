//! How fast pages are sealed and opened on this machine, on one core: `cargo run -p seal --example seal_speed`.
//!
//! The pages resemble SQLite's: half text-like records, some noise, some free space. Blocks are those of a sealed replica.

use age::secrecy::ExposeSecret;
use seal::{Identities, Opener, Options, PlainReader, PlainWriter, Recipients, Sealer};
use std::io::Read;
use std::time::Duration;

const BYTES: usize = 256 << 20;
const PAGE: usize = 4096;

fn page(number: u32) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    let mut seed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut at = 100;
    while at + 64 < PAGE * 7 / 8 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let record = format!("customer-{:08x} street {} ", seed as u32, seed % 97);
        page[at..at + record.len()].copy_from_slice(record.as_bytes());
        page[at + record.len()..at + record.len() + 8].copy_from_slice(&seed.to_le_bytes());
        at += record.len() + 8;
    }
    page
}

#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    let value = work();
    (value, start.elapsed())
}

fn report(what: &str, time: Duration) {
    println!("  {what:<28} {:>7.0} MB/s of pages", BYTES as f64 / 1e6 / time.as_secs_f64());
}

fn drain(mut from: impl Read) -> Result<u64, std::io::Error> {
    std::io::copy(&mut from, &mut std::io::sink())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let identity = age::x25519::Identity::generate();
    let recipients = Recipients::parse(&identity.to_public().to_string(), "made here")?;
    let identities = Identities::parse(identity.to_string().expose_secret(), "made here")?;
    let pages: Vec<u8> = (0..(BYTES / PAGE) as u32).flat_map(page).collect();

    let (sealed, time) = timed(|| {
        let mut writer = Sealer::new(Vec::new(), &recipients, Options::default())?;
        writer.data(&pages)?;
        writer.finish()
    });
    let sealed = sealed?;
    println!("{} MiB of pages become {} MiB", BYTES >> 20, sealed.len() >> 20);
    report("compress and seal", time);
    let (plain, time) = timed(|| {
        let mut writer = PlainWriter::new(Vec::new(), Options::default())?;
        writer.data(&pages)?;
        writer.finish()
    });
    report("compress alone", time);
    let (read, time) = timed(|| drain(Opener::new(sealed.as_slice(), &identities)?));
    assert_eq!(read?, BYTES as u64);
    report("open and unpack", time);
    let plain = plain?;
    let (read, time) = timed(|| drain(PlainReader::new(plain.as_slice())?));
    assert_eq!(read?, BYTES as u64);
    report("unpack alone", time);
    Ok(())
}
