//! The socket's file: made with mode 0600 from the first moment on, and removed at the end.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// A control socket that listens. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

/// Why it cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("control socket {}: another relay is listening there", .0.display())]
    InUse(PathBuf),
    /// The file is there and is no socket: it is not ours to remove.
    #[error("control socket {}: there is a file of another kind", .0.display())]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("control socket {}: {source}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Socket {
    /// Listens at `path`. A socket that nobody answers, left by a relay that was killed, is replaced.
    ///
    /// Must be called on a runtime.
    ///
    /// # Errors
    /// [`SocketError`], naming the path.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        use std::os::unix::fs::FileTypeExt;
        if let Ok(metadata) = fs::symlink_metadata(path) {
            if !metadata.file_type().is_socket() {
                return Err(SocketError::NotASocket(path.to_owned()));
            }
            if StdStream::connect(path).is_ok() {
                return Err(SocketError::InUse(path.to_owned()));
            }
        }
        let failed = |source| SocketError::File { path: path.to_owned(), source };
        let listener = listen_privately(path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
        Ok(Self { listener, path: path.to_owned(), inode })
    }
}

/// Between bind and chmod the mode would be the umask's. So the socket is made in a folder that nobody else may enter, and
/// then moved into its place, which also replaces a dead one in one step.
fn listen_privately(path: &Path) -> io::Result<StdListener> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let private = parent.join(format!(".c{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&private)?;
    let made = private.join("s");
    let bound = StdListener::bind(&made).and_then(|listener| {
        fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
        fs::rename(&made, path)?;
        Ok(listener)
    });
    if bound.is_err() {
        // The folder must be empty to be removed; that there is nothing to remove is no further error.
        fs::remove_file(&made).ok();
    }
    fs::remove_dir(&private)?;
    bound
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another relay may have taken the place meanwhile: its file is not ours. Nobody is left to be told of a failure.
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            fs::remove_file(&self.path).ok();
        }
    }
}
