//! The system calls by which files change, replaced for the whole process.
//!
//! The executable's own symbols win over those of the C library, so SQLite's calls and those of the standard library all come
//! by here: that is how the simulator knows what was synced, and how it can cut the power between any two calls, without a
//! file layer in the product. The same way random numbers follow from the seed. Threads that simulate nothing pass straight through to
//! the kernel.
#![allow(unsafe_code)]

use crate::disk::{self, Io};
use crate::entropy;
use nix::libc::{self, c_char, c_int, c_long, c_void, off_t, size_t, ssize_t};
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn call(number: c_long, a: usize, b: usize, c: usize, d: usize) -> isize {
    told(kernel(number, [a, b, c, d, 0, 0]))
}

/// What the kernel says, as C says it.
fn told(result: isize) -> isize {
    if !(-4095..0).contains(&result) {
        return result;
    }
    nix::errno::Errno::set_raw(-result as i32);
    -1
}

/// The kernel itself: the C library's `syscall` is replaced below.
fn kernel(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let result;
    // SAFETY: the arguments are those of the C call that came in, passed on unchanged; the registers are those of the kernel's interface.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number as isize,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    result
}

/// The C function takes any number of arguments, which come in the same registers as six.
#[unsafe(no_mangle)]
extern "C" fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    if number == libc::SYS_getrandom && b > 0 {
        // SAFETY: the caller of this system call passes `b` bytes to be written at `a`.
        let into = unsafe { std::slice::from_raw_parts_mut(a as *mut u8, b) };
        if entropy::fill(into) {
            return b as c_long;
        }
    }
    told(kernel(number, [a, b, c, d, e, f])) as c_long
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
