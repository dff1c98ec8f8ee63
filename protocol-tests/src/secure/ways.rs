//! The ways into a real broker with `--secure`, as lines of isolog's config.
//!
//! It never holds a secret that is worth anything.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::AlterUserScramCredentialsRequest;
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_protocol::protocol::StrBytes;
use ring::pbkdf2;

use crate::real::Hand;
use crate::real::RealError;
use crate::real::repo;
use crate::secure::idp::CLIENT;
use crate::secure::idp::Idp;
use crate::secure::idp::Mood;
use crate::secure::idp::SECRET;
use crate::secure::idp::Signer;

/// The password of every store.
pub const STORE_PASSWORD: &str = "store-secret";
/// The password of keys that have one of their own.
pub const KEY_PASSWORD: &str = "key-secret";
/// The account of PLAIN and SCRAM.
pub const USER: &str = "alice";
/// Its password.
pub const PASSWORD: &str = "alice-secret";
/// How long the endpoint's tokens last, in s.
const TOKEN_SECONDS: u64 = 12;
/// Rounds of the SCRAM credentials.
const ITERATIONS: i32 = 4096;

/// Keys and stores in a directory, a token endpoint, and brokers' public keys.
pub struct Safe {
    /// Where everything lies.
    pub dir: PathBuf,
    /// Signs tokens.
    pub signer: Arc<Signer>,
    /// Gives them.
    pub idp: Idp,
}

impl Safe {
    /// Makes them.
    pub fn new(name: &str) -> Result<Safe, RealError> {
        let dir = repo().join(format!("target/real/certs-{}-{name}", std::process::id()));
        let script = repo().join("protocol-tests/kafka/certs");
        crate::real::run(Command::new(script).arg(&dir))?;
        let signer = Arc::new(Signer::default());
        signer.write_jwks(&dir.join("jwks.json"));
        let tls = server(&dir);
        let idp = Idp::start(signer.clone(), tls, Mood::Gives(TOKEN_SECONDS));
        fs::write(dir.join("token"), signer.token(600))
            .map_err(|e| RealError::new(format!("{}: {e}", dir.display())))?;
        Ok(Safe { dir, signer, idp })
    }

    fn at(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }

    /// Every way into a broker: its name, the number of the listener, the lines of the config.
    pub fn ways(&self) -> Vec<(&'static str, usize, String)> {
        let file = |property: &str, file: &str| format!("ssl.{property} = '{}'\n", self.at(file));
        let password = |store: &str| format!("ssl.{store}.password = '{STORE_PASSWORD}'\n");
        let trust = file("truststore.location", "ca.pem");
        let ssl = "security.protocol = 'SSL'\n";
        let mut ways = vec![
            ("ssl", 0, format!("{ssl}{trust}")),
            (
                "mtls",
                1,
                [
                    ssl.to_owned(),
                    file("truststore.location", "trust.jks"),
                    password("truststore"),
                    file("keystore.location", "client.jks"),
                    password("keystore"),
                ]
                .concat(),
            ),
        ];
        for (listener, protocol) in [(2, "SASL_PLAINTEXT"), (3, "SASL_SSL")] {
            for (mechanism, lines) in self.logins() {
                let name: &'static str = format!("{protocol}-{mechanism}").leak();
                let tls = if listener == 3 { trust.as_str() } else { "" };
                let lines = format!("security.protocol = '{protocol}'\n{tls}{lines}");
                ways.push((name, listener, lines));
            }
        }
        ways
    }

    /// The lines of each mechanism.
    fn logins(&self) -> Vec<(&'static str, String)> {
        let kafka = "org.apache.kafka.common.security";
        let account = format!("required username=\"{USER}\" password=\"{PASSWORD}\";");
        let scram = format!("sasl.jaas.config = '{kafka}.scram.ScramLoginModule {account}'\n");
        let plain = format!("sasl.jaas.config = '{kafka}.plain.PlainLoginModule {account}'\n");
        vec![
            ("PLAIN", format!("sasl.mechanism = 'PLAIN'\n{plain}")),
            ("SCRAM-SHA-256", format!("sasl.mechanism = 'SCRAM-SHA-256'\n{scram}")),
            ("SCRAM-SHA-512", format!("sasl.mechanism = 'SCRAM-SHA-512'\n{scram}")),
            ("OAUTHBEARER", self.oauth(CLIENT, SECRET)),
        ]
    }

    /// OAUTHBEARER by the endpoint, with any account.
    pub fn oauth(&self, client: &str, secret: &str) -> String {
        format!(
            "sasl.mechanism = 'OAUTHBEARER'\n\
             sasl.oauthbearer.token.endpoint.url = 'https://localhost:{}/token'\n\
             sasl.jaas.config = 'org.apache.kafka.common.security.oauthbearer.\
             OAuthBearerLoginModule required clientId=\"{client}\" clientSecret=\"{secret}\" \
             scope=\"mirror\" ssl.truststore.location=\"{}\";'\n",
            self.idp.port,
            self.at("ca.pem"),
        )
    }
}

impl Drop for Safe {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _best_effort = fs::remove_dir_all(&self.dir);
        }
    }
}

fn server(dir: &Path) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::from_pem_file(dir.join("broker.crt")).expect("made a moment ago");
    let key = PrivateKeyDer::from_pem_file(dir.join("broker.key")).expect("made a moment ago");
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let config = builder.with_no_client_auth().with_single_cert(vec![chain], key);
    Arc::new(config.expect("a key and its certificate"))
}

/// Makes the SCRAM account of both hashes, over the plaintext listener.
pub fn make_account(hand: &Hand) -> Result<(), RealError> {
    let upsertion = |mechanism: i8, algorithm: pbkdf2::Algorithm, bytes: usize| {
        let salt = b"a salt for tests";
        let mut salted = vec![0; bytes];
        let rounds = NonZeroU32::new(ITERATIONS as u32).expect("not zero");
        pbkdf2::derive(algorithm, rounds, salt, PASSWORD.as_bytes(), &mut salted);
        ScramCredentialUpsertion::default()
            .with_name(StrBytes::from_static_str(USER))
            .with_mechanism(mechanism)
            .with_iterations(ITERATIONS)
            .with_salt(Bytes::from_static(salt))
            .with_salted_password(salted.into())
    };
    // a broker takes one change of a user in one request
    for one in
        [upsertion(1, pbkdf2::PBKDF2_HMAC_SHA256, 32), upsertion(2, pbkdf2::PBKDF2_HMAC_SHA512, 64)]
    {
        let request = AlterUserScramCredentialsRequest::default().with_upsertions(vec![one]);
        let answer = hand.ask_any(0, &request)?;
        if let Some(wrong) = answer.results.iter().find(|one| one.error_code != 0) {
            return Err(RealError::new(format!("no SCRAM account: {wrong:?}")));
        }
    }
    Ok(())
}
