//! A token endpoint on loopback that signs real tokens, or fails on demand.
//!
//! It never gives a token to a client that does not know the secret.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;
use ring::signature::KeyPair;
use rustls::ServerConfig;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::raw::Io;

/// The client's id.
pub const CLIENT: &str = "isolog-client";
/// Its secret.
pub const SECRET: &str = "oauth-secret";

/// Signs tokens (ES256), as brokers check them.
pub struct Signer(EcdsaKeyPair);

impl Default for Signer {
    fn default() -> Signer {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random);
        Signer(key.expect("it was made a moment ago"))
    }
}

impl Signer {
    /// Writes the public key as brokers read it.
    pub fn write_jwks(&self, path: &Path) {
        let point = self.0.public_key().as_ref();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        let (x, y) = (part(1..33), part(33..65));
        let text = format!(
            "{{\"keys\":[{{\"kty\":\"EC\",\"crv\":\"P-256\",\"alg\":\"ES256\",\"use\":\"sig\",\
             \"kid\":\"1\",\"x\":\"{x}\",\"y\":\"{y}\"}}]}}"
        );
        fs::write(path, text).expect("the key is written");
    }

    /// A token for so many seconds.
    pub fn token(&self, seconds: u64) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let now = now.as_secs();
        let head = URL_SAFE_NO_PAD.encode("{\"alg\":\"ES256\",\"kid\":\"1\",\"typ\":\"JWT\"}");
        let claims = format!(
            "{{\"sub\":\"alice\",\"aud\":\"kafka\",\"iss\":\"idp\",\"scope\":\"mirror\",\
             \"iat\":{now},\"exp\":{}}}",
            now + seconds
        );
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).expect("it signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What the endpoint does.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Gives tokens for so many seconds.
    Gives(u64),
    /// Answers 500.
    Broken,
    /// Answers something long that is no JSON.
    Babbles,
    /// Never answers.
    Silent,
}

/// A running endpoint, on a runtime of its own.
pub struct Idp {
    /// Where.
    pub port: u16,
    /// How often it was asked.
    pub asked: Arc<AtomicU32>,
    mood: Arc<Mutex<Mood>>,
    runtime: Option<Runtime>,
}

impl Drop for Idp {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Idp {
    /// Listens on a free loopback port.
    pub fn start(signer: Arc<Signer>, tls: Arc<ServerConfig>, mood: Mood) -> Idp {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("bound").port();
        let (asked, mood) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(mood)));
        let (seen, now) = (asked.clone(), mood.clone());
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                let (tls, signer) = (tls.clone(), signer.clone());
                let (seen, now) = (seen.clone(), now.clone());
                tokio::spawn(async move {
                    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
                    seen.fetch_add(1, Ordering::SeqCst);
                    let mood = *now.lock().unwrap_or_else(PoisonError::into_inner);
                    answer(stream, &signer, mood).await;
                });
            }
        });
        Idp { port, asked, mood, runtime: Some(runtime) }
    }

    /// Changes what it does.
    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }
}

async fn answer(mut stream: impl Io, signer: &Signer, mood: Mood) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let basic = STANDARD.encode(format!("{CLIENT}:{SECRET}")).to_lowercase();
    let (status, body) = match mood {
        Mood::Silent => std::future::pending().await,
        Mood::Broken => ("500 Internal Server Error", "hunter2".to_owned()),
        Mood::Babbles => ("200 OK", "hunter2 ".repeat(20_000)),
        Mood::Gives(_) if !head.contains(&basic) => {
            ("401 Unauthorized", "{\"error\":\"invalid_client\"}".to_owned())
        }
        Mood::Gives(seconds) => {
            let token = signer.token(seconds);
            ("200 OK", format!("{{\"access_token\":\"{token}\",\"expires_in\":{seconds}}}"))
        }
    };
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         \r\n{body}"
    );
    let _gone = stream.write_all(text.as_bytes()).await;
    let _gone = stream.shutdown().await;
}
