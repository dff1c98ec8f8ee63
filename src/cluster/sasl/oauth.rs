//! OAuth tokens: from a file, or from a token endpoint by client credentials (RFC 6749, 4.4).
//!
//! It never looks at a token but for its end, and never asks an endpoint again at once that has
//! refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::cluster::sasl::LoginError;
use crate::cluster::sasl::Message;
use crate::cluster::sasl::endpoint::Endpoint;
use crate::secure::Secret;
use crate::secure::read_secret;

/// The longest token that is sent.
const TOKEN_BYTES_MAX: usize = 12 * 1024;
/// How long a token without an end is used.
const LIFE_UNKNOWN: Duration = Duration::from_secs(60);
/// No token is believed to last longer than a day.
const LIFE_MAX: Duration = Duration::from_secs(86_400);

/// Where tokens come from.
#[derive(Debug)]
pub enum Source {
    /// A file that somebody keeps fresh; read at every login.
    File(PathBuf),
    /// A token endpoint.
    Endpoint(Box<Endpoint>),
}

/// When a new token is fetched, and how failures are paced.
#[derive(Copy, Clone, Debug)]
pub struct Refresh {
    /// `sasl.login.refresh.window.factor`, in thousandths of a token's life.
    pub after_thousandths: u32,
    /// `sasl.login.retry.backoff.ms`.
    pub pause: Duration,
    /// `sasl.login.retry.backoff.max.ms`.
    pub pause_max: Duration,
}

/// The tokens of one cluster.
#[derive(Debug)]
pub struct Tokens {
    source: Source,
    refresh: Refresh,
    /// `extension_NAME` of the JAAS line (KIP-342).
    extensions: Vec<(String, String)>,
    kept: tokio::sync::Mutex<Kept>,
    /// The broker has refused the last token: it is not used again.
    refused: AtomicBool,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Token>,
    failures: u32,
    /// No endpoint is asked before, and why.
    paused: Option<(Instant, Arc<str>)>,
}

/// A token and what is known of its life.
#[derive(Clone, Debug)]
struct Token {
    text: Secret,
    renew: Instant,
    end: Instant,
}

impl Tokens {
    /// Tokens from there; none is fetched yet.
    pub fn new(source: Source, refresh: Refresh, extensions: Vec<(String, String)>) -> Tokens {
        let kept = tokio::sync::Mutex::default();
        Tokens { source, refresh, extensions, kept, refused: AtomicBool::new(false) }
    }

    /// The broker does not take the last token.
    pub fn refused(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// The first message of OAUTHBEARER (RFC 7628, 3.1).
    pub async fn message(&self) -> Result<Message, LoginError> {
        let token = self.token().await?;
        let mut message = Zeroizing::new(format!("n,,\u{1}auth=Bearer {}", token.expose()));
        for (name, value) in &self.extensions {
            message.push_str(&format!("\u{1}{name}={value}"));
        }
        message.push_str("\u{1}\u{1}");
        Ok(Zeroizing::new(message.as_bytes().to_vec()))
    }

    async fn token(&self) -> Result<Secret, LoginError> {
        match &self.source {
            Source::File(path) => from_file(path.clone()).await,
            // who waits here is served by the one fetch that is under way
            Source::Endpoint(endpoint) => {
                let mut kept = self.kept.lock().await;
                self.asked_of(endpoint, &mut kept).await
            }
        }
    }

    async fn asked_of(&self, endpoint: &Endpoint, kept: &mut Kept) -> Result<Secret, LoginError> {
        let now = Instant::now();
        if self.refused.swap(false, Ordering::Relaxed) {
            kept.token = None;
        }
        let usable = kept.token.clone().filter(|token| now < token.end);
        if let Some(token) = &usable
            && now < token.renew
        {
            return Ok(token.text.clone());
        }
        let why = match &kept.paused {
            Some((until, why)) if now < *until => why.clone(),
            _ => match self.fetch(endpoint).await {
                Ok(token) => {
                    *kept = Kept { token: Some(token.clone()), ..Kept::default() };
                    return Ok(token.text);
                }
                Err(why) => self.pause(kept, why),
            },
        };
        // an endpoint that is away costs nothing while the old token lives
        usable.map(|token| token.text).ok_or(LoginError::Token(why))
    }

    fn pause(&self, kept: &mut Kept, why: String) -> Arc<str> {
        let why: Arc<str> = why.into();
        tracing::warn!(%why, "no OAuth token");
        let doubled = self.refresh.pause.saturating_mul(1 << kept.failures.min(20));
        kept.failures += 1;
        let until = Instant::now() + doubled.min(self.refresh.pause_max);
        kept.paused = Some((until, why.clone()));
        why
    }

    async fn fetch(&self, endpoint: &Endpoint) -> Result<Token, String> {
        let asked = Instant::now();
        let answer = endpoint.ask().await?;
        let answer: Value = serde_json::from_slice(&answer)
            .map_err(|_| "the token endpoint's answer is no JSON".to_owned())?;
        let text = answer["access_token"].as_str().or(answer["id_token"].as_str());
        let text = checked(text.ok_or("the token endpoint's answer has no access_token")?)?;
        let said = answer["expires_in"].as_u64().map(Duration::from_secs);
        let life = life(text.expose()).or(said).unwrap_or(LIFE_UNKNOWN).min(LIFE_MAX);
        let renew = asked + life * self.refresh.after_thousandths / 1000;
        Ok(Token { text, renew, end: asked + life })
    }
}

async fn from_file(path: PathBuf) -> Result<Secret, LoginError> {
    let read = tokio::task::spawn_blocking(move || read_secret(&path)).await;
    let failed = |why: String| LoginError::Token(why.into());
    let read = read.map_err(|_| failed("the file could not be read".into()))?;
    let text = read.map_err(|error| failed(error.to_string()))?;
    checked(&text).map_err(failed)
}

/// A token as RFC 6750 has it: what else is in there could part the message.
fn checked(text: &str) -> Result<Secret, String> {
    let text = text.trim();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX || !text.bytes().all(legal) {
        return Err("what came is no bearer token".into());
    }
    Ok(Secret::new(text.to_owned()))
}

/// How long a JWT still lives by its own `exp`; `None` for other tokens.
fn life(token: &str) -> Option<Duration> {
    let payload = token.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    let end = Duration::try_from_secs_f64(claims["exp"].as_f64()?).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(end.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_tokens_are_sent() {
        assert_eq!(checked(" a.b-c_d~+/=\n").unwrap().expose(), "a.b-c_d~+/=");
        for bad in ["", "a b", "a\u{1}b", "é", &"a".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(checked(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_end_of_a_jwt_is_read() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let token = |claims: &str| format!("x.{}.y", URL_SAFE_NO_PAD.encode(claims));
        let seen = life(&token(&format!("{{\"exp\":{}}}", now + 100))).unwrap();
        assert!((98..=100).contains(&seen.as_secs()), "{seen:?}");
        assert_eq!(life(&token("{\"exp\":5}")), Some(Duration::ZERO));
        for odd in ["{\"exp\":-5}", "{\"exp\":1e300}", "{\"exp\":\"x\"}", "{}", "no"] {
            assert_eq!(life(&token(odd)), None, "{odd}");
        }
        assert_eq!(life("opaque"), None);
    }

    #[tokio::test]
    async fn a_token_comes_from_a_file_and_extensions_follow() {
        let path = std::env::temp_dir().join(format!("isolog-token-{}", std::process::id()));
        std::fs::write(&path, "abc\n").unwrap();
        let refresh = Refresh {
            after_thousandths: 800,
            pause: Duration::from_millis(100),
            pause_max: Duration::from_secs(10),
        };
        let extensions = vec![("logicalCluster".to_owned(), "lkc-1".to_owned())];
        let tokens = Tokens::new(Source::File(path.clone()), refresh, extensions);
        let message = tokens.message().await.unwrap();
        assert_eq!(&**message, b"n,,\x01auth=Bearer abc\x01logicalCluster=lkc-1\x01\x01");
        std::fs::remove_file(&path).unwrap();
        let said = tokens.message().await.unwrap_err().to_string();
        assert!(said.starts_with("no OAuth token: cannot read"), "{said}");
    }
}
