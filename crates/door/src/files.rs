//! The exit code of what went wrong with a replica of files.

use file_replica::Class;
use telemetry::Exit;

/// The exit code for a class of the room's errors.
pub fn exit_of_files(class: Class) -> Exit {
    match class {
        Class::Retriable => Exit::Failed,
        Class::Usage => Exit::Usage,
        Class::Refused => Exit::Refused,
        Class::Damaged => Exit::Damaged,
        Class::Fenced => Exit::Fenced,
    }
}
