//! A broker on a loopback port that logs people in, in every wrong way one can think of.
//!
//! It never mirrors or stores anything: it answers ApiVersions, a login, and Metadata.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::SaslAuthenticateResponse;
use kafka_protocol::messages::SaslHandshakeResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::protocol::Encodable;
use kafka_protocol::protocol::StrBytes;
use ring::digest;
use ring::hmac;
use ring::pbkdf2;
use rustls::ServerConfig;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::raw::Io;

/// The account that may log in.
pub const USER: &str = "alice";
/// Its password.
pub const PASSWORD: &str = "alice-secret";

/// The longest request that is read.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// How the peer behaves.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As a broker does.
    Right,
    /// Takes only GSSAPI.
    OtherMechanism,
    /// Asks for so many SCRAM iterations.
    Iterations(u32),
    /// Its last SCRAM message is not signed with the password.
    ForgedSignature,
    /// Its nonce is its own.
    ForeignNonce,
    /// Says yes to the first SCRAM message.
    EarlyYes,
    /// Refuses every login.
    Refuse,
    /// A SaslAuthenticate answer whose length fields lie.
    Garbage,
    /// Sends a byte of the login's answer each second.
    Drip,
    /// Closes in the middle of the login.
    HangUp,
    /// Never answers the login.
    Silent,
}

/// A listening peer; dropping it ends it.
pub struct Peer {
    /// Where.
    pub port: u16,
    /// Logins that came as far as a password or proof.
    pub logins: Arc<AtomicU32>,
    /// Refuses every login from now on, whatever its manner.
    pub refuses: Arc<AtomicBool>,
    /// The cluster's other brokers, by id and port; this one is broker 1.
    pub others: Arc<Mutex<Vec<(i32, u16)>>>,
    /// Handshakes of TLS that were done, and whether each was resumed.
    pub handshakes: Arc<Mutex<Vec<bool>>>,
    task: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Habits {
    manner: Manner,
    /// 0 for logins that hold for ever.
    lifetime_ms: i64,
    port: u16,
    logins: Arc<AtomicU32>,
    refuses: Arc<AtomicBool>,
    others: Arc<Mutex<Vec<(i32, u16)>>>,
}

impl Peer {
    /// Listens on a free loopback port.
    pub async fn start(manner: Manner, tls: Option<Arc<ServerConfig>>, lifetime_ms: i64) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let logins = Arc::new(AtomicU32::new(0));
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        let (refuses, others) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let habits = Habits {
            manner,
            lifetime_ms,
            port,
            logins: logins.clone(),
            refuses: Arc::clone(&refuses),
            others: Arc::clone(&others),
        };
        let seen = handshakes.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                let (habits, tls, seen) = (habits.clone(), tls.clone(), seen.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return serve(stream, habits).await };
                    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
                    let kind = stream.get_ref().1.handshake_kind();
                    let resumed = kind == Some(rustls::HandshakeKind::Resumed);
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(resumed);
                    serve(stream, habits).await;
                });
            }
        });
        Peer { port, logins, refuses, others, handshakes, task }
    }
}

async fn serve(mut stream: impl Io, habits: Habits) {
    let mut scram = Scram::default();
    while let Some((api, version, correlation, body)) = request(&mut stream).await {
        let answer = match api {
            18 => versions(version),
            17 => handshake(habits.manner),
            36 => match authenticate(&habits, &mut scram, body).await {
                Some(answer) => answer,
                None => return,
            },
            3 => metadata(&habits, version),
            _ => return,
        };
        let flexible = !matches!(api, 17 | 18);
        let mut out = Vec::new();
        out.put_i32((4 + usize::from(flexible) + answer.len()) as i32);
        out.put_i32(correlation);
        out.put_bytes(0, usize::from(flexible));
        out.put_slice(&answer);
        if habits.manner == Manner::Drip && api == 36 {
            for byte in out {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _gone = stream.write_all(&[byte]).await;
                let _gone = stream.flush().await;
            }
        } else if stream.write_all(&out).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

async fn request(stream: &mut impl Io) -> Option<(i16, i16, i32, Bytes)> {
    let size = stream.read_i32().await.ok()?;
    // as a broker refuses what is longer than socket.request.max.bytes
    let size = usize::try_from(size).ok().filter(|bytes| *bytes <= FRAME_BYTES_MAX)?;
    let mut frame = vec![0; size];
    stream.read_exact(&mut frame).await.ok()?;
    let mut frame = Bytes::from(frame);
    let (api, version, correlation) = (frame.get_i16(), frame.get_i16(), frame.get_i32());
    let client_id_bytes = frame.get_i16() as usize;
    frame.advance(client_id_bytes + usize::from(api != 17));
    Some((api, version, correlation, frame))
}

fn encoded(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("a message");
    out.to_vec()
}

fn versions(version: i16) -> Vec<u8> {
    let ranges = crate::scripted::MODERN.iter().chain(&[(17, 0, 1), (36, 0, 2)]);
    let range = |row: &(i16, i16, i16)| {
        ApiVersion::default().with_api_key(row.0).with_min_version(row.1).with_max_version(row.2)
    };
    encoded(&ApiVersionsResponse::default().with_api_keys(ranges.map(range).collect()), version)
}

fn handshake(manner: Manner) -> Vec<u8> {
    let other = manner == Manner::OtherMechanism;
    let names = if other { vec!["GSSAPI"] } else { vec!["PLAIN", "SCRAM-SHA-256"] };
    let names = names.into_iter().map(StrBytes::from_static_str).collect();
    let answer = SaslHandshakeResponse::default().with_mechanisms(names);
    encoded(&answer.with_error_code(if other { 33 } else { 0 }), 1)
}

fn metadata(habits: &Habits, version: i16) -> Vec<u8> {
    let broker = |(id, port): (i32, u16)| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(id))
            .with_host(StrBytes::from_static_str("127.0.0.1"))
            .with_port(i32::from(port))
    };
    let others = habits.others.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let all = std::iter::once((1, habits.port)).chain(others);
    let answer = MetadataResponse::default()
        .with_brokers(all.map(broker).collect())
        .with_controller_id(BrokerId(1))
        .with_cluster_id(Some(StrBytes::from_static_str("peer")));
    encoded(&answer, version)
}

fn said(code: i16, message: Option<&str>, bytes: &[u8], lifetime_ms: i64) -> Vec<u8> {
    let message = message.map(|text| StrBytes::from_string(text.to_owned()));
    let answer = SaslAuthenticateResponse::default()
        .with_error_code(code)
        .with_error_message(message)
        .with_auth_bytes(Bytes::copy_from_slice(bytes))
        .with_session_lifetime_ms(lifetime_ms);
    encoded(&answer, 2)
}

fn no() -> Vec<u8> {
    said(58, Some("Authentication failed: wrong"), &[], 0)
}

/// `None` hangs up.
async fn authenticate(habits: &Habits, scram: &mut Scram, body: Bytes) -> Option<Vec<u8>> {
    let message = &body[1..body.len() - 1];
    if habits.refuses.load(Ordering::SeqCst) {
        habits.logins.fetch_add(1, Ordering::SeqCst);
        return Some(no());
    }
    match habits.manner {
        Manner::HangUp => return None,
        Manner::Silent => std::future::pending().await,
        Manner::Garbage => return Some(b"\0\0\0\xff\xff\xff\xff\x0fxxxx".to_vec()),
        _ => {}
    }
    if let Some(plain) = message.strip_prefix(b"\0") {
        habits.logins.fetch_add(1, Ordering::SeqCst);
        let right = plain == format!("{USER}\0{PASSWORD}").as_bytes();
        let yes = right && habits.manner != Manner::Refuse;
        return Some(if yes { said(0, None, &[], habits.lifetime_ms) } else { no() });
    }
    let text = std::str::from_utf8(message).ok()?;
    if let Some(bare) = text.strip_prefix("n,,") {
        if habits.manner == Manner::EarlyYes {
            return Some(said(0, None, &[], habits.lifetime_ms));
        }
        return Some(said(0, None, scram.first(bare, habits.manner)?.as_bytes(), 0));
    }
    habits.logins.fetch_add(1, Ordering::SeqCst);
    match scram.last(text, habits.manner) {
        Some(answer) if habits.manner != Manner::Refuse => {
            Some(said(0, None, answer.as_bytes(), habits.lifetime_ms))
        }
        _ => Some(no()),
    }
}

/// The server's side of SCRAM-SHA-256.
#[derive(Default)]
struct Scram {
    bare: String,
    first: String,
    iterations: u32,
}

const SALT: &[u8] = b"salt of the peer";

impl Scram {
    fn first(&mut self, bare: &str, manner: Manner) -> Option<String> {
        let nonce = bare.split(",r=").nth(1)?.split(',').next()?;
        let nonce = if manner == Manner::ForeignNonce { "foreign" } else { nonce };
        self.iterations = match manner {
            Manner::Iterations(count) => count,
            _ => 4096,
        };
        let salt = STANDARD.encode(SALT);
        self.bare = bare.to_owned();
        self.first = format!("r={nonce}server,s={salt},i={}", self.iterations);
        Some(self.first.clone())
    }

    fn last(&self, text: &str, manner: Manner) -> Option<String> {
        let (without_proof, proof) = text.split_once(",p=")?;
        let signed = format!("{},{},{without_proof}", self.bare, self.first);
        let mut salted = [0; 32];
        let rounds = NonZeroU32::new(self.iterations)?;
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, rounds, SALT, PASSWORD.as_bytes(), &mut salted);
        let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let client_key = hmac::sign(&key(&salted), b"Client Key");
        let stored = digest::digest(&digest::SHA256, client_key.as_ref());
        let signature = hmac::sign(&key(stored.as_ref()), signed.as_bytes());
        let pairs = client_key.as_ref().iter().zip(signature.as_ref());
        let right: Vec<u8> = pairs.map(|(left, right)| left ^ right).collect();
        if STANDARD.decode(proof).ok()? != right {
            return None;
        }
        let name: &[u8] = if manner == Manner::ForgedSignature { b"Forged" } else { b"Server Key" };
        let server_key = hmac::sign(&key(&salted), name);
        let proof = hmac::sign(&key(server_key.as_ref()), signed.as_bytes());
        Some(format!("v={}", STANDARD.encode(proof.as_ref())))
    }
}
