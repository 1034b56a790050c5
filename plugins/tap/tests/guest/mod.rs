//! A guest: a program without rights that opens the TAP interface of its pod.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

/// How the interface is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    /// The user that opens it.
    pub(crate) uid: libc::uid_t,
    /// The group that opens it.
    pub(crate) gid: libc::gid_t,
    /// Whether it is opened as one queue of several.
    pub(crate) queue: bool,
}

/// Opens the interface `name` of the pod; the errno where the kernel refuses.
pub(crate) fn open(pod: &lab::Pod, name: &str, opening: Opening) -> Result<File, i32> {
    pod.run(|| {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .expect("/dev/net/tun");
        // Of this thread only, which ends with the visit to the pod: the system calls themselves,
        // where the C library would change all threads.
        give_up_rights(opening);
        attach(&device, name, opening.queue)?;
        Ok(device)
    })
}

#[allow(unsafe_code, reason = "the C library changes the IDs of all threads")]
fn give_up_rights(opening: Opening) {
    let none: [libc::gid_t; 0] = [];
    let (uid, gid) = (opening.uid, opening.gid);
    // SAFETY: the calls take numbers and an empty list, and change this thread's IDs only.
    let done = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, 0, none.as_ptr()),
            libc::syscall(libc::SYS_setresgid, gid, gid, gid),
            libc::syscall(libc::SYS_setresuid, uid, uid, uid),
        ]
    };
    assert_eq!(done, [0, 0, 0], "the guest keeps its rights");
}

#[allow(unsafe_code, reason = "an ioctl that the nix crate does not wrap")]
fn attach(device: &File, name: &str, queue: bool) -> Result<(), i32> {
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | if queue { libc::IFF_MULTI_QUEUE } else { 0 };
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: libc::c_short::try_from(flags).expect("flags"),
        },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the request is a whole `ifreq` that outlives the call, and the descriptor is open.
    let code = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    match code {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or_default()),
    }
}

/// Asks for the hardware address of 10.33.0.`host` and returns it.
pub(crate) fn ask(device: &mut File, host: u8) -> [u8; 6] {
    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
    let mut frame = vec![0xff; 6];
    frame.extend(OWN);
    // ARP over Ethernet for IPv4: a request (RFC 826).
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(OWN);
    frame.extend([10, 33, 0, 254]);
    frame.extend([0; 6]);
    frame.extend([10, 33, 0, host]);
    let start = Instant::now();
    let mut answer = [0; 2048];
    while start.elapsed() < lab::PATIENCE {
        device.write_all(&frame).expect("send a frame");
        std::thread::sleep(std::time::Duration::from_millis(5));
        loop {
            match device.read(&mut answer) {
                Ok(42..) if answer[12..14] == [8, 6] && answer[21] == 2 => {
                    return answer[22..28].try_into().expect("six bytes");
                }
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("read a frame: {e}"),
            }
        }
    }
    panic!("10.33.0.{host} does not answer")
}
