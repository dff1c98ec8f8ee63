//! Client files and JAAS lines before Kafka's own Java client and before isolog. What both make of
//! them is the page docs/CLIENT-FILES.md, which this test writes (`ISOLOG_BLESS=1`) or compares.
//!
//! It never starts a broker.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;

use isolog::config;
use isolog::config::Config;
use isolog::config::Problem;
use protocol_tests::real::Judged;
use protocol_tests::real::hex;
use protocol_tests::real::judge_files;
use protocol_tests::real::judge_lines;
use protocol_tests::real::repo;

/// Whose client judges; the older one where the two differ.
const VERSION: &str = "4.3.1";
const OLDER: &str = "3.9.1";

/// What isolog must make of a file.
enum Ours {
    /// As Java's client does.
    Taken,
    /// Taken, and a note holds these words.
    Noted(&'static str),
    /// Refused, and the one problem names this property and holds these words.
    Refused(&'static str, &'static str),
}
use Ours::Noted;
use Ours::Refused;
use Ours::Taken;

/// A client file: its name, its bytes where it is none of `testdata`, what isolog makes of it, and
/// why that differs from Java where it does.
struct Case {
    name: &'static str,
    bytes: &'static [u8],
    ours: Ours,
    why: &'static str,
}

const fn case(name: &'static str, bytes: &'static [u8], ours: Ours, why: &'static str) -> Case {
    Case { name, bytes, ours, why }
}

/// A client file of these lines behind its address.
macro_rules! lines {
    ($($line:literal),*) => {
        concat!("bootstrap.servers=a.example.com:1\n", $($line, "\n"),*).as_bytes()
    };
}

/// Nothing here: the file is in `testdata/client-properties`.
const KEPT: &[u8] = b"";

const FILES: &[Case] = &[
    case("01-trailing-space", KEPT, Taken, ""),
    case("02-trailing-comma", KEPT, Refused("bootstrap.servers", "leave the comma out"), ""),
    case("05-ipv6-bare", KEPT, Taken, ""),
    case("06-confluent-cloud", KEPT, Noted("passes them over: acks, basic.auth."), ""),
    case("09-kafka-docs-protocols", KEPT, Noted("leaves out TLSv1.1, TLSv1:"), ""),
    case("12-latin1-comment", KEPT, Taken, ""),
    case("23-mm2-prefix", KEPT, Noted("Connect and MirrorMaker 2 read these"), ""),
    case("24-dollar-pw", KEPT, Noted("a ${ that is no reference: it stays"), ""),
    case("25-timeouts", KEPT, Noted("reconnect.backoff.ms = 50: is beyond"), ""),
    case(
        "last-line-ends-in-a-backslash",
        b"bootstrap.servers=a.example.com:1\nclient.id=x\\",
        Taken,
        "",
    ),
    case(
        "separators-and-escapes",
        b"bootstrap.servers : a.example.com:1\\\n   ,b.example.com\\u003a2\r\nclient.id\tx\\ y",
        Taken,
        "",
    ),
    case("surrogates", lines!["client.id=\\uD83D\\uDE00"], Taken, ""),
    case("broken-escape", lines!["client.id=\\u12"], Refused("properties.file", "(line 2)"), ""),
    case(
        "byte-order-mark",
        b"\xef\xbb\xbfsecurity.protocol=SSL\nbootstrap.servers=a.example.com:1\n",
        Refused("properties.file", "byte order mark of UTF-8"),
        "Java takes the mark for a part of the first name, passes it over, and speaks in the open",
    ),
    case(
        "password-in-utf-8",
        b"bootstrap.servers=a.example.com:1\nsecurity.protocol=SASL_PLAINTEXT\n\
          sasl.mechanism=PLAIN\n\
          sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n  \
          username=\"u\" password=\"\xc3\xbc\xe2\x82\xac\";",
        Taken,
        "",
    ),
    case(
        "password-in-latin-1",
        b"bootstrap.servers=a.example.com:1\nsecurity.protocol=SASL_PLAINTEXT\n\
          sasl.mechanism=PLAIN\n\
          sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n  \
          username=\"u\" password=\"\xfc\x80\\u20ac\";",
        Taken,
        "",
    ),
    case(
        "password-with-backslashes",
        b"bootstrap.servers=a.example.com:1\nsecurity.protocol=SASL_PLAINTEXT\n\
          sasl.mechanism=PLAIN\n\
          sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n  \
          username=\"u\" password=\"a\\b\\\\101\\\\\\\\\";",
        Taken,
        "",
    ),
    case(
        "scheme",
        b"bootstrap.servers=SSL://a.example.com:1",
        Refused("bootstrap.servers", "without a scheme"),
        "a scheme says what security.protocol may contradict; Kafka's client does not look at it",
    ),
    case(
        "two-commas",
        b"bootstrap.servers=a.example.com:1,,b.example.com:2",
        Refused("bootstrap.servers", "leave the comma out"),
        "",
    ),
    case(
        "no-port",
        b"bootstrap.servers=a.example.com",
        Refused("bootstrap.servers", "the port is missing"),
        "",
    ),
    case(
        "retry-beyond-its-end",
        lines!["retry.backoff.ms=5000"],
        Noted("retry.backoff.ms = 5000: is beyond"),
        "",
    ),
    case("reconnect-alone", lines!["reconnect.backoff.ms=5000"], Taken, ""),
    case(
        "long-times",
        lines![
            "request.timeout.ms=2147483647",
            "metadata.max.age.ms=9223372036854775807",
            "retry.backoff.max.ms=9223372036854775807",
            "socket.connection.setup.timeout.ms=9223372036854775807",
            "reconnect.backoff.ms=0"
        ],
        Taken,
        "",
    ),
    case(
        "old-protocols-only",
        lines!["security.protocol=SSL", "ssl.enabled.protocols=TLSv1.1,TLSv1"],
        Refused("ssl.enabled.protocols", "TLSv1.2 and TLSv1.3"),
        "JDK 17 switches them off later (jdk.tls.disabledAlgorithms): no handshake could succeed",
    ),
    case(
        "old-cipher-suite",
        lines!["security.protocol=SSL", "ssl.cipher.suites=TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"],
        Refused("ssl.cipher.suites", "there are TLS_AES_256_GCM_SHA384"),
        "rustls has no CBC suites; the words list what there is",
    ),
    case(
        "misspelt",
        lines!["securty.protocol=SSL"],
        Refused("securty.protocol", "did you mean security.protocol?"),
        "Kafka's client passes it over with a line in its log, and speaks in the open",
    ),
    case(
        "cluster-linking",
        lines!["cluster.link.prefix=west."],
        Taken,
        "a link's property: Kafka's client does not know it",
    ),
    case(
        "unknown-provider",
        lines!["client.id=${vault:a:b}"],
        Refused("client.id", "Write ${literal:$}{ where"),
        "Kafka's client needs config.providers for references and takes the text without; isolog's \
         references are always on",
    ),
    case(
        "bundle-with-a-latin-1-comment",
        lines![
            "security.protocol=SSL",
            "ssl.truststore.type=PEM",
            "ssl.truststore.location=latin1.pem"
        ],
        Taken,
        "",
    ),
    case(
        "trusted-certificate",
        lines![
            "security.protocol=SSL",
            "ssl.truststore.type=PEM",
            "ssl.truststore.location=trusted.pem"
        ],
        Taken,
        "",
    ),
    case(
        "no-trust-store",
        lines![
            "security.protocol=SSL",
            "ssl.truststore.type=PEM",
            "ssl.truststore.location=none.pem"
        ],
        Refused("ssl.truststore.location", "cannot read"),
        "",
    ),
    case(
        "trust-store-is-a-directory",
        lines!["security.protocol=SSL", "ssl.truststore.type=PEM", "ssl.truststore.location=."],
        Refused("ssl.truststore.location", "is a directory"),
        "",
    ),
    case(
        "key-under-pbe-sha1-3des",
        lines![
            "security.protocol=SSL",
            "ssl.keystore.type=PEM",
            "ssl.keystore.location=key-pbe-sha1-3des.pem",
            "ssl.key.password=changeit"
        ],
        Taken,
        "",
    ),
    case(
        "key-with-a-wrong-password",
        lines![
            "security.protocol=SSL",
            "ssl.keystore.type=PEM",
            "ssl.keystore.location=key-pbe-sha1-3des.pem",
            "ssl.key.password=wrong"
        ],
        Refused("ssl.key.password", "does not open"),
        "",
    ),
    case(
        "key-without-its-password",
        lines![
            "security.protocol=SSL",
            "ssl.keystore.type=PEM",
            "ssl.keystore.location=key-pbe-sha1-3des.pem"
        ],
        Refused("ssl.key.password", "is encrypted"),
        "",
    ),
    case(
        "key-store-without-a-key",
        lines!["security.protocol=SSL", "ssl.keystore.type=PEM", "ssl.keystore.location=ca.pem"],
        Refused("ssl.keystore.location", "no private key"),
        "",
    ),
    case(
        "certificate-of-version-1",
        lines![
            "security.protocol=SSL",
            "ssl.keystore.type=PEM",
            "ssl.keystore.location=client-x509-v1.pem"
        ],
        Taken,
        "",
    ),
];

/// Stands before most lines: `L` in the page.
const MODULE: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required ";

/// JAAS lines, and why isolog refuses one that Java's client takes. The first four are from the
/// field (`jaas.txt`).
const LINES: &[(&str, &str)] = &[
    (r#"L username="u" password="DOM\user\101\x";"#, ""),
    (r#"L username="u" password="p"; // a comment"#, ""),
    (r#"L /* c */ username="u" password="p";"#, ""),
    (r#"L "username"="u" "password"="p";"#, ""),
    (r#"L username="u" password="p";"#, ""),
    ("L username='u' password='p';", ""),
    ("L username=u password=p;", ""),
    (r#"L username = "u" password = "p" ;"#, ""),
    (r#"L username="u"password="p";"#, ""),
    (r#"L password="p" username="u" other="x";"#, ""),
    (r#"L username="u" password="p" username="v";"#, ""),
    (r#"L username="u" password="a\"b";"#, ""),
    (r#"L username="u" password="a\\b";"#, ""),
    (r#"L username="u" password='a"b';"#, ""),
    (r#"L username="u" password="a'b";"#, ""),
    (r#"L username="u" password="a b  c";"#, ""),
    (r#"L username="u" password="a;b=c";"#, ""),
    (r#"L username="u" password="a//b/*c*/d#e";"#, ""),
    (r#"L username="u" password="\7\77\377";"#, ""),
    (r#"L username="u" password="\400\4777\18\778";"#, ""),
    (r#"L username="u" password="\8\9\q\u0041";"#, ""),
    (r#"L username="u" password="\n\t\r\a\b\f\v";"#, ""),
    ("L username=\"u\" password=\"a\\\nb\";", ""),
    ("L username=\"u\" password=\"ab\n;", ""),
    (r#"L username="ü" password="€😀\é";"#, ""),
    ("L username=u.v password=é€😀;", ""),
    ("L username=u password=a.b-c_d$e1;", ""),
    ("L username=u password=a\u{80}b;", ""),
    ("L username=u password=\u{a0}b;", ""),
    (r#"L username="u" /* x ; " */ password="p";"#, ""),
    ("L username=\"u\" /* *\n/ */ password=\"p\";", ""),
    ("L username=\"u\" // x ; \"\n password=\"p\";", ""),
    ("L username=\"u\" / x ; \"\n password=\"p\";", ""),
    ("L username=\"u\" /\n password=\"p\";\n password=\"q\";", ""),
    ("L username=u password=a/b;\n;", ""),
    (r#"L username="u" password="p"; /* end */ // more"#, ""),
    ("\tL\r\n username=\"u\"\r\n\tpassword=\"p\";\r\n", ""),
    (r#"L username="u" password="a${b}c";"#, ""),
    (r#"L username="u" password="";"#, ""),
    (
        concat!(
            "'org.apache.kafka.common.security.plain.PlainLoginModule' ",
            r#""Sufficient" username="u" password="p";"#
        ),
        "",
    ),
    ("L username=u password=1abc;", ""),
    ("L username=u password=-abc;", ""),
    ("L username=u password=.5;", ""),
    (r#"L username="u" password="p""#, ""),
    (r#"L username="u" password="p\";"#, ""),
    (r#"L username="u" password="p";;"#, ""),
    (r#"L username="u" password="p"; L username="v" password="q";"#, ""),
    (r#"L username="u" password="p" serviceName;"#, ""),
    (
        concat!(
            "org.apache.kafka.common.security.plain.PlainLoginModule ",
            r#"needed username="u" password="p";"#
        ),
        "",
    ),
    (
        concat!(
            r#"'org.apache.kafka.common.security.plain.PlainLoginModule "#,
            r#"required username="u" password="p";'"#
        ),
        "",
    ),
    (
        r#"L username="" password="p";"#,
        "no broker takes an empty name; better said before it is sent",
    ),
    (r#"L username="u" password="a\0b";"#, "a zero byte ends a value in PLAIN: brokers refuse it"),
];

/// A place for the files of one test, with the stores that they name.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = repo().join(format!("target/real/client-files-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let there = repo().join("testdata");
        let ca = std::fs::read(there.join("client-properties/ca.pem")).unwrap();
        for store in ["key-pbe-sha1-3des.pem", "client-x509-v1.pem"] {
            let key = std::fs::read(there.join("stores").join(store)).unwrap();
            std::fs::write(dir.join(store), key).unwrap();
        }
        std::fs::write(dir.join("latin1.pem"), [b"# f\xfcr uns\n", ca.as_slice()].concat())
            .unwrap();
        let trusted = String::from_utf8(ca.clone()).unwrap();
        let trusted = trusted.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
        std::fs::write(dir.join("trusted.pem"), trusted).unwrap();
        std::fs::write(dir.join("ca.pem"), ca).unwrap();
        Place(dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // what stays behind is in target/
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A config whose link has these lines.
fn load(dir: &Path, lines: &str) -> Result<Config, Vec<Problem>> {
    let config = dir.join("isolog.toml");
    let text = format!(
        "[destination]\nbootstrap.servers = '127.0.0.1:1'\n[link.l]\nmirror.topics = 't'\n{lines}\n"
    );
    std::fs::write(&config, text).unwrap();
    config::load(&config)
}

/// The first message of the link's login, as hex.
async fn first_message(config: &Config) -> Option<String> {
    let login = config.links.links[0].source.security.login.as_ref()?;
    let (_, message) = login.begin(&"127.0.0.1:2".into(), false).await.unwrap();
    Some(hex(&message))
}

/// Text that may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', "⏎").replace('\r', "␍").replace('\t', "␉")
}

fn code(text: &str) -> String {
    let text = text.replace('\u{80}', "<80>").replace('\u{a0}', "<a0>");
    format!("`{}`", cell(&text))
}

/// A problem or note as people see it, without the directory of the test.
fn said(problem: &Problem, dir: &Path) -> String {
    problem.to_string().replace(&format!("{}/", dir.display()), "").replace("[link.l] ", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn client_files_are_taken_as_by_javas_client_or_refused_in_words() {
    let place = Place::new("files");
    let dir = place.0.as_path();
    for case in FILES {
        let kept = repo().join(format!("testdata/client-properties/{}.properties", case.name));
        let bytes = match case.bytes {
            KEPT => std::fs::read(kept).unwrap(),
            bytes => bytes.to_vec(),
        };
        std::fs::write(dir.join(format!("{}.properties", case.name)), bytes).unwrap();
    }
    let names: Vec<String> = FILES.iter().map(|case| format!("{}.properties", case.name)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let java = judge_files(VERSION, dir, &names).unwrap();
    let older = judge_files(OLDER, dir, &names).unwrap();
    assert_eq!((java.len(), older.len()), (FILES.len(), FILES.len()));
    let mut table = "| file | Kafka's client | isolog |\n| --- | --- | --- |\n".to_owned();
    for (at, case) in FILES.iter().enumerate() {
        let name = names[at];
        let loaded = load(dir, &format!("properties.file = '{name}'"));
        let ours = judge_ours(case, loaded.as_ref().map_err(Vec::as_slice), dir);
        if let Ok(config) = &loaded {
            assert!(java[at].taken, "{name}: Java refuses, isolog takes: {}", java[at].words);
            if let Some(message) = first_message(config).await {
                let sent = java[at].words.split(' ').next().unwrap();
                assert_eq!(sent, format!("login={message}"), "{name}: the login differs");
            }
        } else if java[at].taken {
            assert!(!case.why.is_empty(), "{name}: Java takes it, isolog does not: {ours}");
        }
        let theirs = match (java[at].taken, older[at].taken) {
            (true, true) => "taken".to_owned(),
            (false, true) => format!("refused (3.9 takes it): {}", java[at].words),
            _ => format!("refused: {}", short(&java[at].words)),
        };
        writeln!(table, "| {name} | {} | {} |", cell(&theirs), cell(&ours)).unwrap();
    }
    page("files", &table);
}

/// What isolog makes of the file, as the table tells it; it must be what the case says.
fn judge_ours(case: &Case, loaded: Result<&Config, &[Problem]>, dir: &Path) -> String {
    let name = case.name;
    match (&case.ours, loaded) {
        (Taken, Ok(config)) => {
            assert_eq!(config.notes, [], "{name}");
            "taken".to_owned()
        }
        (Noted(part), Ok(config)) => {
            let notes: Vec<String> = config.notes.iter().map(|note| said(note, dir)).collect();
            let notes = notes.join("; ");
            assert!(notes.contains(part), "{name}: {notes}");
            assert!(!notes.contains("SRSECRET") && !notes.contains("${b}"), "{name}: {notes}");
            format!("taken; {notes}")
        }
        (Refused(key, part), Err([problem])) => {
            let text = said(problem, dir);
            assert_eq!(problem.key.as_deref(), Some(*key), "{name}: {text}");
            assert!(text.contains(part), "{name}: {text}");
            let why =
                if case.why.is_empty() { String::new() } else { format!(" – {}", case.why) };
            format!("refused: {text}{why}")
        }
        (_, Ok(config)) => panic!("{name}: taken with {:?}", config.notes),
        (_, Err(problems)) => panic!("{name}: {problems:?}"),
    }
}

fn short(words: &str) -> String {
    let first = words.split(": ").last().unwrap_or(words);
    let text = if first.len() < 20 { words } else { first };
    // a path of the test's own
    let text: Vec<&str> =
        text.split(' ').map(|word| word.rsplit('/').next().unwrap_or(word)).collect();
    text.join(" ").chars().take(120).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn jaas_lines_reach_the_broker_as_from_java() {
    let place = Place::new("jaas");
    let dir = place.0.as_path();
    let whole: Vec<String> = LINES
        .iter()
        .map(|(line, _)| line.replace("L ", MODULE).replace("L\r", &format!("{MODULE}\r")))
        .collect();
    let lines: Vec<&str> = whole.iter().map(String::as_str).collect();
    let java = judge_lines(VERSION, dir, &lines).unwrap();
    assert_eq!(java.len(), lines.len());
    assert!(lines.len() >= 4 + 35);
    let mut table = "| line | Java sends | isolog sends |\n| --- | --- | --- |\n".to_owned();
    for (at, (line, why)) in LINES.iter().enumerate() {
        let text = serde_json::to_string(lines[at]).unwrap();
        let login = "bootstrap.servers = '127.0.0.1:2'\nsecurity.protocol = 'SASL_PLAINTEXT'\n\
                     sasl.mechanism = 'PLAIN'\n";
        let ours = match load(dir, &format!("{login}sasl.jaas.config = {text}")) {
            Ok(config) => Ok(first_message(&config).await.unwrap()),
            Err(problems) => {
                let [problem] = problems.as_slice() else { panic!("{line}: {problems:?}") };
                assert_eq!(problem.key.as_deref(), Some("sasl.jaas.config"), "{problem}");
                Err(problem.text.clone())
            }
        };
        let (theirs, shown) = match (&java[at], &ours) {
            (Judged { taken: true, words }, Ok(ours)) => {
                assert_eq!(words, ours, "{line:?}: another message");
                (words.clone(), ours.clone())
            }
            (Judged { taken: true, words }, Err(said)) => {
                assert!(!why.is_empty(), "{line:?}: Java sends {words}, isolog: {said}");
                (words.clone(), format!("refused: {said} – {why}"))
            }
            (Judged { taken: false, words }, Err(said)) => {
                (format!("refused: {}", short(words)), format!("refused: {said}"))
            }
            (Judged { words, .. }, Ok(ours)) => {
                panic!("{line:?}: Java refuses ({words}), isolog sends {ours}")
            }
        };
        let cells = [code(line), cell(&theirs), cell(&shown)];
        writeln!(table, "| {} |", cells.join(" | ")).unwrap();
    }
    page("jaas", &table);
}

/// Compares a part of the page with what was seen; `ISOLOG_BLESS=1` writes it instead.
fn page(part: &str, right: &str) {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = repo().join("docs/CLIENT-FILES.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- {part}: written by the test -->\n\n");
    let (before, rest) = text.split_once(&begin).expect("the page has the part's mark");
    let right = format!("{right}\n");
    let end = rest.find("<!-- end -->").expect("the part has an end");
    if std::env::var_os("ISOLOG_BLESS").is_some() {
        let new = format!("{before}{begin}{right}{}", &rest[end..]);
        std::fs::write(&path, new).unwrap();
        return;
    }
    assert_eq!(&rest[..end], right, "docs/CLIENT-FILES.md is stale: run this with ISOLOG_BLESS=1");
}
