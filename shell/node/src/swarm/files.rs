//! Where a member keeps what must survive: certificate and key, the managers it knows, how it was told to listen.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use skep_disk::{DiskError, KeyFile, NodeSettings, Remote, UnlockKey};
use skep_model::pb::types::Peer;
use skep_rpc::identity::IdentityError;
use skep_rpc::{NodeIdentity, PrivateKey, TrustRoot};
use zeroize::Zeroizing;

/// What the mark of a node that leaves says: to be taken off the list as well, or not.
const REMOVE: &[u8] = b"remove";
const STAY: &[u8] = b"stay";

/// The member's directory and its parts.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
}

/// What could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A certificate or key on disk.
    #[error("the certificate on disk cannot be used")]
    Identity(#[from] IdentityError),
    /// The key on disk.
    #[error("the node's key on disk cannot be used: {0}")]
    Key(String),
}

/// What lies on disk of this node's identity.
pub enum Found {
    /// Nothing: in no swarm.
    Nothing,
    /// Locked, or locked with another key than the one given.
    Locked,
    /// Everything.
    Identity(Box<(NodeIdentity, KeyFile)>),
}

impl Files {
    /// Below the daemon's data root.
    pub fn new(data_root: &Path) -> Self {
        Self { root: data_root.join("swarm") }
    }

    fn certificates(&self) -> PathBuf {
        self.root.join("certificates")
    }

    fn key_path(&self) -> PathBuf {
        self.certificates().join("swarm-node.key")
    }

    fn certificate_path(&self) -> PathBuf {
        self.certificates().join("swarm-node.crt")
    }

    fn root_path(&self) -> PathBuf {
        self.certificates().join("swarm-root-ca.crt")
    }

    /// The raft log and snapshots.
    pub fn raft(&self) -> PathBuf {
        self.root.join("raft")
    }

    fn beginning(&self) -> PathBuf {
        self.root.join("beginning")
    }

    /// A swarm is about to be made here.
    pub fn begin(&self) -> Result<(), FilesError> {
        skep_disk::create_private_dir(&self.root)?;
        Ok(skep_disk::write_file(&self.beginning(), &[])?)
    }

    /// The swarm stands.
    pub fn begun(&self) -> Result<(), FilesError> {
        Ok(skep_disk::remove_file(&self.beginning())?)
    }

    /// The daemon died while it made a swarm, at whatever point: nobody can know of that swarm, and nobody has its
    /// tokens or its unlock key. Its log may stand already, without the objects that make a swarm of it.
    pub fn is_half_made(&self) -> bool {
        self.beginning().exists()
    }

    fn leaving(&self) -> PathBuf {
        self.root.join("leaving")
    }

    /// This node leaves its swarm from now on, whatever happens to the daemon; whether off the list, too.
    pub fn begin_leaving(&self, remove: bool) -> Result<(), FilesError> {
        Ok(skep_disk::write_file(&self.leaving(), if remove { REMOVE } else { STAY })?)
    }

    /// Whether this node was leaving when the daemon died, and whether off the list.
    pub fn was_leaving(&self) -> Result<Option<bool>, FilesError> {
        Ok(skep_disk::read_file(&self.leaving())?.map(|wish| wish == REMOVE))
    }

    /// The worker's tasks.
    pub fn worker(&self) -> PathBuf {
        self.root.join("worker")
    }

    /// Reads the identity.
    pub fn load(&self, unlock_key: Option<&UnlockKey>) -> Result<Found, FilesError> {
        match KeyFile::is_locked(&self.key_path())? {
            None => return Ok(Found::Nothing),
            Some(true) if unlock_key.is_none() => return Ok(Found::Locked),
            Some(_) => {}
        }
        let key_file = match KeyFile::load(&self.key_path(), unlock_key) {
            Ok(Some(key_file)) => key_file,
            Ok(None) => return Ok(Found::Nothing),
            Err(DiskError::Locked { .. }) => return Ok(Found::Locked),
            Err(error) => return Err(error.into()),
        };
        let Some(root) = skep_disk::read_file(&self.root_path())? else { return Ok(Found::Nothing) };
        let root = TrustRoot::from_pem_at_any_time(Bytes::from(root))?;
        let key = private_key(&key_file)?;
        let candidates = KeyFile::certificates(&self.certificate_path())?;
        if let Some(interrupted) = candidates.interrupted {
            if let Ok(identity) = NodeIdentity::new(root.clone(), Bytes::from(interrupted), key.clone()) {
                KeyFile::adopt_interrupted(&self.certificate_path())?;
                return Ok(Found::Identity(Box::new((identity, key_file))));
            }
            KeyFile::discard_interrupted(&self.certificate_path())?;
        }
        let Some(chain) = candidates.current else { return Ok(Found::Nothing) };
        let identity = NodeIdentity::new(root, Bytes::from(chain), key)?;
        Ok(Found::Identity(Box::new((identity, key_file))))
    }

    /// A key file for a new key; headers are the caller's to set before it is saved.
    pub fn new_key_file(&self, key: &PrivateKey) -> Result<KeyFile, FilesError> {
        Ok(KeyFile::new(&self.key_path(), der(key)?))
    }

    /// Writes root, key and certificate, so that a crash in between leaves either the old or the new.
    pub fn save(&self, identity: &NodeIdentity, key_file: &mut KeyFile) -> Result<(), FilesError> {
        skep_disk::create_private_dir(&self.certificates())?;
        skep_disk::write_public_file(&self.root_path(), identity.root().pem())?;
        key_file.set_private_key(der(identity.key())?);
        key_file.save_with_certificate(&self.certificate_path(), identity.chain_pem())?;
        Ok(())
    }

    /// How the node was told to listen.
    pub fn settings(&self) -> Result<Option<NodeSettings>, FilesError> {
        Ok(NodeSettings::load(&self.root)?)
    }

    /// Writes it.
    pub fn save_settings(&self, settings: &NodeSettings) -> Result<(), FilesError> {
        skep_disk::create_private_dir(&self.root)?;
        Ok(settings.save(&self.root)?)
    }

    /// The managers that are known.
    pub fn remotes(&self) -> Result<Vec<Peer>, FilesError> {
        let remotes = Remote::load_all(&self.root)?.into_iter();
        Ok(remotes.map(|remote| Peer { node_id: remote.node_id, addr: remote.addr }).collect())
    }

    /// Writes them.
    pub fn save_remotes(&self, peers: &[Peer]) -> Result<(), FilesError> {
        let remotes: Vec<Remote> =
            peers.iter().map(|peer| Remote { node_id: peer.node_id.clone(), addr: peer.addr.clone() }).collect();
        skep_disk::create_private_dir(&self.root)?;
        Ok(Remote::save_all(&self.root, &remotes)?)
    }

    /// Forgets the raft log: this node is no manager any more.
    pub fn wipe_raft(&self) -> Result<(), FilesError> {
        Ok(skep_disk::remove_dir(&self.raft())?)
    }

    /// Forgets everything: the node is in no swarm.
    pub fn wipe(&self) -> Result<(), FilesError> {
        Ok(skep_disk::remove_dir(&self.root)?)
    }
}

fn der(key: &PrivateKey) -> Result<Zeroizing<Vec<u8>>, FilesError> {
    let der =
        PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).map_err(|error| FilesError::Key(error.to_string()))?;
    Ok(Zeroizing::new(der.secret_der().to_vec()))
}

fn private_key(key_file: &KeyFile) -> Result<PrivateKey, FilesError> {
    let pem = Zeroizing::new(pem::encode(&pem::Pem::new("PRIVATE KEY", key_file.private_key().to_vec())));
    Ok(PrivateKey::from_pem(&pem)?)
}
