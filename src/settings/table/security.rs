//! The rows of the table that make connections safe, by Kafka's own names.
//!
//! It never reads a value.

use crate::settings::property::Default;
use crate::settings::property::Effect;
use crate::settings::property::Kind;
use crate::settings::property::Property;
use crate::settings::property::Scope;

const CLUSTERS: &[Scope] = &[Scope::Destination, Scope::Link];
const STORES: &[Scope] = &[Scope::Destination, Scope::Link, Scope::Service];
const SERVICE: &[Scope] = &[Scope::Service];

/// The most bytes of an inline PEM or a JAAS line.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
const STORE_TYPES: &[&str] = &["JKS", "PKCS12", "PEM"];

const fn row(
    name: &'static str,
    scopes: &'static [Scope],
    kind: Kind,
    default: Default,
    doc: &'static str,
) -> Property {
    let sensitive = matches!(kind, Kind::Secret(_));
    let of_cluster = matches!(scopes, [Scope::Destination, ..]);
    let effect = if of_cluster { Effect::Reconnect } else { Effect::Never };
    Property { name, scopes, kind, default, effect, sensitive, doc }
}

const fn secret(name: &'static str, scopes: &'static [Scope], doc: &'static str) -> Property {
    row(name, scopes, Kind::Secret(TEXT_BYTES_MAX), Default::None, doc)
}

/// TLS and SASL, and which addresses may be dialled.
pub const SECURITY: &[Property] = &[
    row(
        "security.protocol",
        CLUSTERS,
        Kind::Word(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]),
        Default::Is("PLAINTEXT"),
        "How the cluster is spoken to: SSL is TLS, SASL is a login. Each side has its own; the \
         credentials of one never go to an address of the other.",
    ),
    row(
        "sasl.mechanism",
        CLUSTERS,
        Kind::WordOrLater(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"], &["GSSAPI"]),
        Default::None,
        "How to log in. Kafka's own default, GSSAPI (Kerberos), comes with a later release.",
    ),
    secret(
        "sasl.jaas.config",
        CLUSTERS,
        "The login, in the line that Kafka's clients have: PlainLoginModule and ScramLoginModule \
         with username and password (and tokenauth=true for a delegation token), \
         OAuthBearerLoginModule with clientId, clientSecret, scope, extension_NAME, and ssl.* \
         options for the token endpoint.",
    ),
    row(
        "sasl.oauthbearer.token.endpoint.url",
        CLUSTERS,
        Kind::Text(4096),
        Default::None,
        "Where OAUTHBEARER's tokens come from: https://… asks an endpoint with client credentials, \
         file:///… reads a token that somebody else keeps fresh, at every login. http:// is taken \
         for loopback only.",
    ),
    row(
        "sasl.oauthbearer.client.credentials.client.id",
        CLUSTERS,
        Kind::Text(1024),
        Default::None,
        "The client's id, instead of clientId in sasl.jaas.config.",
    ),
    secret(
        "sasl.oauthbearer.client.credentials.client.secret",
        CLUSTERS,
        "The client's secret, instead of clientSecret in sasl.jaas.config.",
    ),
    row(
        "sasl.oauthbearer.scope",
        CLUSTERS,
        Kind::Text(4096),
        Default::None,
        "The scope that is asked for, instead of scope in sasl.jaas.config.",
    ),
    row(
        "sasl.login.connect.timeout.ms",
        CLUSTERS,
        Kind::Millis(100, i32::MAX as i64),
        Default::Is("10000"),
        "The deadline of a connection to the token endpoint.",
    ),
    row(
        "sasl.login.read.timeout.ms",
        CLUSTERS,
        Kind::Millis(100, i32::MAX as i64),
        Default::Is("10000"),
        "The deadline of its answer.",
    ),
    row(
        "sasl.login.retry.backoff.ms",
        CLUSTERS,
        Kind::Millis(0, i64::MAX),
        Default::Is("100"),
        "The pause before a failed token endpoint is asked again; it doubles with each failure.",
    ),
    row(
        "sasl.login.retry.backoff.max.ms",
        CLUSTERS,
        Kind::Millis(0, i64::MAX),
        Default::Is("10000"),
        "The longest such pause.",
    ),
    row(
        "sasl.login.callback.handler.class",
        CLUSTERS,
        Kind::Text(1024),
        Default::None,
        "Kafka's own OAuthBearerLoginCallbackHandler is taken and means nothing here; no other \
         Java class can run in isolog.",
    ),
    row(
        "ssl.protocol",
        CLUSTERS,
        Kind::Word(&["TLS", "TLSv1.2", "TLSv1.3"]),
        Default::Is("TLSv1.3"),
        "The newest TLS version that is spoken; TLS is the newest there is.",
    ),
    row(
        "ssl.enabled.protocols",
        CLUSTERS,
        Kind::WordsButOld(
            &["TLSv1.2", "TLSv1.3"],
            &["SSL", "SSLv2Hello", "SSLv3", "TLSv1", "TLSv1.1"],
        ),
        Default::Is("TLSv1.2,TLSv1.3"),
        "The TLS versions that are spoken. Older ones are not safe, and not there: they are left \
         out with a note where a newer one stands beside them, and refused alone.",
    ),
    row(
        "ssl.cipher.suites",
        CLUSTERS,
        Kind::Words(&[]),
        Default::None,
        "The cipher suites that are offered, by their names in Java; none for all that isolog has: \
         AES-GCM and ChaCha20-Poly1305 with ECDHE.",
    ),
    row(
        "ssl.endpoint.identification.algorithm",
        CLUSTERS,
        Kind::Word(&["https", ""]),
        Default::Is("https"),
        "Whether a broker's certificate must have the name by which it was dialled; with an empty \
         text only the name is passed over, nothing else.",
    ),
    row(
        "ssl.truststore.type",
        STORES,
        Kind::Word(STORE_TYPES),
        Default::Is("JKS"),
        "How trusted certificates are stored. What a file is, is seen from its first bytes: this \
         may be wrong, or left out.",
    ),
    row(
        "ssl.truststore.location",
        STORES,
        Kind::File,
        Default::None,
        "The file of trusted certificates: PEM, PKCS12 or JKS. Without it the machine's own \
         authorities are trusted. Read again when it changes; open connections stay.",
    ),
    secret("ssl.truststore.password", STORES, "The password of that file."),
    secret(
        "ssl.truststore.certificates",
        STORES,
        "The trusted certificates themselves, as PEM, instead of a file.",
    ),
    row(
        "ssl.crl.location",
        CLUSTERS,
        Kind::File,
        Default::None,
        "A file of certificate revocation lists (X509 CRL): PEM, or one list as DER; the name is \
         librdkafka's. With it every certificate of a broker's chain must be told good by a list \
         of its authority: a revoked one, a missing list and one past its nextUpdate are refused. \
         Read again when it changes; open connections stay. Nothing is fetched: distribution \
         points and OCSP are not asked.",
    ),
    row(
        "ssl.keystore.type",
        STORES,
        Kind::Word(STORE_TYPES),
        Default::Is("JKS"),
        "How the key is stored; seen from the file's first bytes, as with the trust store.",
    ),
    row(
        "ssl.keystore.location",
        STORES,
        Kind::File,
        Default::None,
        "The file of our own key and certificates: PEM, PKCS12 or JKS. Read again when it changes \
         (in [service]: at the next start).",
    ),
    secret("ssl.keystore.password", STORES, "The password of that file."),
    secret("ssl.keystore.key", STORES, "Our key itself, as PEM (PKCS#8), instead of a file."),
    secret("ssl.keystore.certificate.chain", STORES, "Its certificates, as PEM, our own first."),
    secret(
        "ssl.key.password",
        STORES,
        "The password of the key, where it is not that of its file.",
    ),
    row(
        "broker.addresses.allowed",
        CLUSTERS,
        Kind::Addresses,
        Default::None,
        "Where brokers of this cluster may be: host names, *.domain, addresses and ranges such as \
         10.0.0.0/8. An address that the cluster tells and that is not among them is not dialled. \
         None for every address.",
    ),
];

/// Who may come to the service port.
pub const SERVICE_SECURITY: &[Property] = &[
    row(
        "ssl.client.auth",
        SERVICE,
        Kind::Word(&["none", "required"]),
        Default::Is("none"),
        "Whether clients must show a certificate of ssl.truststore.",
    ),
    row(
        "secrets.key.file",
        SERVICE,
        Kind::File,
        Default::None,
        "The file of the key with which secrets of links that are created over REST are sealed \
         before they are written to the journal (AES-256-GCM): 32 bytes as base64, as of \
         `openssl rand -base64 32`. Without it such links take no secret. Every isolog of a \
         destination needs the same key.",
    ),
    secret(
        "token",
        SERVICE,
        "What clients must send as `Authorization: Bearer TOKEN`, at least 16 bytes; who does may \
         give every order. A listener beyond loopback needs TLS (ssl.keystore), and this or \
         ssl.client.auth.",
    ),
    secret(
        "operate.token",
        SERVICE,
        "Another token, at least 16 bytes: who sends it may look at everything, and pause, \
         resume, promote and fail over mirror topics; links, and what is created, changed or \
         deleted, are for `token`.",
    ),
    secret(
        "read.token",
        SERVICE,
        "Another token, at least 16 bytes: who sends it may look at everything and give no order.",
    ),
];
