//! The exit code of what went wrong in a room.

use store::RoomClass;
use telemetry::Exit;

/// The exit code for a class of a room's errors.
pub fn exit_of(class: RoomClass) -> Exit {
    match class {
        RoomClass::Retriable => Exit::Failed,
        RoomClass::Usage => Exit::Usage,
        RoomClass::Refused => Exit::Refused,
        RoomClass::Damaged => Exit::Damaged,
        RoomClass::Fenced => Exit::Fenced,
    }
}
