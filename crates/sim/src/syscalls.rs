//! The system calls by which files change, replaced for the whole process.
//!
//! The executable's own symbols win over those of the C library, so SQLite's calls and those of the standard library all come
//! by here: that is how the simulator knows what was synced, and how it can cut the power between any two calls, without a
//! file layer in the product. Threads that simulate nothing pass straight through to the kernel.
#![allow(unsafe_code)]

use crate::disk::{self, Io};
use nix::libc::{self, c_char, c_int, c_void, off_t, size_t, ssize_t};
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn call(number: libc::c_long, a: usize, b: usize, c: usize, d: usize) -> isize {
    // SAFETY: the arguments are those of the C call that came in, passed on unchanged.
    unsafe { libc::syscall(number, a, b, c, d) as isize }
}

fn path_of<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: the caller of a system call passes a string that ends with NUL and lives through the call.
    Path::new(std::ffi::OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

#[unsafe(no_mangle)]
extern "C" fn write(fd: c_int, from: *const c_void, count: size_t) -> ssize_t {
    disk::before(Io::Write, fd);
    call(libc::SYS_write, fd as usize, from as usize, count, 0)
}

#[unsafe(no_mangle)]
extern "C" fn pwrite(fd: c_int, from: *const c_void, count: size_t, at: off_t) -> ssize_t {
    disk::before(Io::Write, fd);
    call(libc::SYS_pwrite64, fd as usize, from as usize, count, at as usize)
}

#[unsafe(no_mangle)]
extern "C" fn pwrite64(fd: c_int, from: *const c_void, count: size_t, at: i64) -> ssize_t {
    disk::before(Io::Write, fd);
    call(libc::SYS_pwrite64, fd as usize, from as usize, count, at as usize)
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    disk::before(Io::Cut, fd);
    call(libc::SYS_ftruncate, fd as usize, length as usize, 0, 0) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, length: i64) -> c_int {
    disk::before(Io::Cut, fd);
    call(libc::SYS_ftruncate, fd as usize, length as usize, 0, 0) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    disk::before(Io::Sync, fd);
    if disk::synced(fd) { 0 } else { call(libc::SYS_fsync, fd as usize, 0, 0, 0) as c_int }
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    disk::before(Io::Sync, fd);
    if disk::synced(fd) { 0 } else { call(libc::SYS_fdatasync, fd as usize, 0, 0, 0) as c_int }
}

#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    disk::before_path(Io::Unlink, path_of(path));
    call(libc::SYS_unlink, path as usize, 0, 0, 0) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    disk::before_path(Io::Rename, path_of(to));
    let done = call(libc::SYS_rename, from as usize, to as usize, 0, 0) as c_int;
    if done == 0 {
        disk::renamed(path_of(from), path_of(to));
    }
    done
}
