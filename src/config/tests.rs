//! Whole files in, typed settings or all their problems out.
//!
//! It never tests one kind or one row; those tests stand beside them.

use std::path::Path;
use std::time::Duration;

use crate::ids::Side;
use crate::ids::TopicName;

use super::*;

const ISSUE: &str = r#"
[destination]                          # the cluster isolog sits beside: Kafka client properties
bootstrap.servers = "127.0.0.1:29092"
[service]
listen = "127.0.0.1:8472"              # metrics, health, JSON
[link.dr]                              # any number of links
bootstrap.servers = "127.0.0.1:19092"
mirror.topics = ["orders", "payments.*"]
"#;

fn load_here(text: &str) -> Result<Config, Vec<String>> {
    let said = |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect();
    load_text(text, Path::new(".")).map_err(said)
}

fn problems(text: &str) -> Vec<String> {
    load_here(text).err().unwrap_or_default()
}

#[test]
fn a_service_that_others_reach_through_a_gateway_knows_them() {
    let with =
        |more: &str| problems(&ISSUE.replace("# metrics, health, JSON", &format!("\n{more}")));
    let url = "advertised.url = 'https://isolog.example'\n";
    let told = with(url).join("\n");
    assert!(told.contains("advertised.url") && told.contains("set token"), "{told}");
    assert_eq!(with(&format!("{url}token = '0123456789abcdef'")), Vec::<String>::new());
    let told = with("advertised.url = 'https://isolog.example/x'\ntoken = '0123456789abcdef'");
    assert!(told.join("\n").contains("without a path behind it"), "{told:?}");
}

#[test]
fn the_issues_file_loads() {
    let config = load_here(ISSUE).unwrap();
    let destination = &config.links.destination;
    assert_eq!(
        (destination.side, &destination.bootstrap[0].0),
        (Side::Destination, &"127.0.0.1".into())
    );
    let [dr] = config.links.links.as_slice() else { panic!("one link") };
    assert_eq!(
        (&*dr.name.0, dr.source.side, dr.source.bootstrap[0].1),
        ("dr", Side::Source, 19092)
    );
    assert_eq!(dr.source.metadata_age_max, Duration::from_secs(30));
    assert_eq!(
        (dr.link.replication_factor, dr.link.committed_only, dr.link.paused),
        (-1, true, false)
    );
    assert_eq!((dr.flow.memory_bytes, dr.flow.fetch_bytes_max), (256 << 20, 64 << 20));
    let matches = |name| dr.link.topics.matches(&TopicName::new(name).unwrap());
    assert!(matches("orders") && matches("payments.eu") && !matches("orders2"));
    assert_eq!(config.service.listen.address().port(), 8472);
    assert!(!config.service.log_json);
}

#[test]
fn what_a_fetch_asks_for_is_bounded_by_the_memory_and_refused_only_where_it_was_said() {
    let with = |more: &str| problems(&format!("buffer.memory.bytes = 16777216\n{ISSUE}{more}"));
    assert_eq!(with(""), Vec::<String>::new());
    let key = "replica.fetch.response.max.bytes";
    assert_eq!(with(&format!("{key} = 8388608\n")), Vec::<String>::new());
    let told = with(&format!("{key} = 8388609\n")).join("\n");
    assert!(told.contains(key) && told.contains("which is 16777216"), "{told}");
}

#[test]
fn six_mistakes_are_six_lines() {
    let said = problems(
        r#"
buffer.memory.bytes = "lots"
[destination]
bootstrap.servers = "kafka1:9092, kafka2"
request.timeout.ms = 0
[service]
listen = "0.0.0.0:8472"
[link.dr]
bootstrap.server = "other:9092"
security.protocol = "TLS"
mirror.topics = ["orders"]
"#,
    );
    let right = [
        "buffer.memory.bytes = \"lots\" (line 2): must be a whole number of bytes, 16777216 to \
         1099511627776",
        "[destination] bootstrap.servers = \"kafka1:9092, kafka2\" (line 4): \"kafka2\" must be \
         host:port; the port is missing",
        "[destination] request.timeout.ms = 0 (line 5): must be a whole number of ms, 100 to \
         2147483647",
        "[link.dr] bootstrap.server (line 9): no such property; did you mean bootstrap.servers?",
        "[link.dr] security.protocol = \"TLS\" (line 10): must be PLAINTEXT or SSL or \
         SASL_PLAINTEXT or SASL_SSL",
        "[link.dr] bootstrap.servers: is missing",
        "[service] listen: 0.0.0.0:8472 is not a loopback address: other machines are let in only \
         with TLS (ssl.keystore.location) and a token, or with ssl.client.auth = \"required\"",
    ];
    assert_eq!(said, right);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let check = |change: &str, right: &str| {
        let said = problems(&format!("{ISSUE}{change}"));
        assert_eq!(said, [right], "{change}");
    };
    check(
        "replica.fetch.wait.max.ms = 30000",
        "[link.dr] replica.fetch.wait.max.ms = 30000: must be less than request.timeout.ms, which \
         is 30000",
    );
    check(
        "link.max.bytes.per.second = 0",
        "[link.dr] link.max.bytes.per.second = 0: must be -1, for no limit, or at least 1; \
         cluster.link.paused=true fetches nothing",
    );
    check(
        "replication.factor = 0",
        "[link.dr] replication.factor = 0: must be -1, for the broker's default, or at least 1",
    );
    check(
        "auto.create.mirror.topics.enable = true",
        "[link.dr] auto.create.mirror.topics.filters: is missing, and \
         auto.create.mirror.topics.enable is true",
    );
    check(
        "[link.eu]\nbootstrap.servers = 'eu:1'\nmirror.topics = 'x,orders'",
        "[link.eu] mirror.topics: orders is mirrored by [link.dr] already, and a mirror topic has \
         one source: leave it out of one of them by mirror.exclude.topics, or give one a \
         cluster.link.prefix",
    );
    check(
        "cluster.link.prefix = 'w.'\n[link.eu]\nbootstrap.servers = 'eu:1'\n\
         mirror.topics = 'w.orders,x'",
        "[link.eu] mirror.topics: w.orders is mirrored by [link.dr] already, and a mirror topic \
         has one source: leave it out of one of them by mirror.exclude.topics, or give one a \
         cluster.link.prefix",
    );
    check(
        "topic.rename.format = 'w.${topic}'\n[link.eu]\nbootstrap.servers = 'eu:1'\n\
         mirror.topics = 'orders,x'\ncluster.link.prefix = 'w.'",
        "[link.eu] mirror.topics: w.orders is mirrored by [link.dr] already, and a mirror topic \
         has one source: leave it out of one of them by mirror.exclude.topics, or give one a \
         cluster.link.prefix",
    );
    check(
        "[link.eu]\nbootstrap.servers = 'eu:1'",
        "[link.eu] mirror.topics: the link mirrors nothing: name topics here, or prefixes ending \
         in *, or write mirror.pattern; or let it copy ACLs alone (acl.sync.enable)",
    );
    check(
        "[link.eu]\nbootstrap.servers = 'eu:1'\nacl.sync.enable = true",
        "[link.eu] acl.filters: is missing, and acl.sync.enable is true",
    );
    check(
        "[link.eu]\nbootstrap.servers = 'eu:1,LOCALHOST:29092'\nmirror.topics = 'x'",
        "[link.eu] bootstrap.servers: localhost:29092 is an address of [destination] too: a \
         cluster cannot mirror itself",
    );
}

#[test]
fn a_link_of_the_file_may_copy_acls_alone() {
    let filters = r#"{"aclFilters":[{"resourceFilter":{"resourceType":"any","patternType":"any"},
        "accessFilter":{"operation":"any","permissionType":"any"}}]}"#;
    let acls = format!("acl.sync.enable = true\nacl.filters = '''{filters}'''\n");
    let text = format!("{ISSUE}[link.eu]\nbootstrap.servers = 'eu:1'\n{acls}");
    let links = load_here(&text).unwrap().links.links;
    let of = |name: &str| &links.iter().find(|one| *one.name.0 == *name).unwrap().link;
    assert!(of("eu").acls.is_enabled && !of("eu").topics.includes_anything());
    assert!(!of("dr").acls.is_configured());
    let denied = format!("{ISSUE}mirror.write.protection = 'deny-all'\n");
    let links = load_here(&denied).unwrap().links.links;
    assert!(links[0].link.acls.is_configured() && !links[0].link.acls.is_enabled);
}

#[test]
fn an_empty_file_says_what_is_missing() {
    assert_eq!(problems(""), ["[destination] bootstrap.servers: is missing"]);
}

#[test]
fn a_file_without_a_link_is_for_links_that_are_created_by_order() {
    let config = load_text("[destination]\nbootstrap.servers = 'a:1'\n", Path::new(".")).unwrap();
    assert!(config.links.links.is_empty());
    let notes: Vec<String> = config.notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes, [NO_LINK]);
}

#[test]
fn every_bad_name_is_told() {
    let link = "[destination]\nbootstrap.servers = 'a:1'\n[link.b]\nbootstrap.servers = 'b:1'\n";
    let said = problems(&format!("{link}mirror.topics = ['a b', 'ok', 'c/d']"));
    let [said] = said.as_slice() else { panic!("{said:?}") };
    assert!(said.contains("\"a b\"") && said.contains("\"c/d\""), "{said}");
}

#[test]
fn what_no_connection_uses_is_noted() {
    let notes = |lines: &str| {
        let text = format!(
            "[destination]\nbootstrap.servers = 'a:1'\n{lines}\n[link.b]\n\
             bootstrap.servers = 'b:1'\nmirror.topics = 'x'"
        );
        let config = load_text(&text, Path::new(".")).unwrap();
        config.notes.iter().map(ToString::to_string).collect::<Vec<String>>()
    };
    assert_eq!(
        notes("sasl.mechanism = 'PLAIN'"),
        ["[destination] sasl.mechanism: is not used: security.protocol is PLAINTEXT (SASL_SSL or \
          SASL_PLAINTEXT logs in)"]
    );
    assert_eq!(
        notes("ssl.truststore.location = 'ca.pem'"),
        ["[destination] ssl.truststore.location: is not used: security.protocol is PLAINTEXT \
             (SSL or SASL_SSL encrypts)"]
    );
    assert_eq!(notes("client.id = 'x'"), [""; 0]);
}

#[test]
fn a_link_twice_is_a_mistake() {
    let said = problems(&format!("{ISSUE}[link.dr]\nclient.id = 'hunter2'\n"));
    assert_eq!(said, ["(line 9): not valid TOML: duplicate key"]);
}

#[test]
fn secrets_are_never_repeated() {
    let said = problems(&format!(
        "{ISSUE}security.protocol = 'SASL_PLAINTEXT'\nsasl.mechanism = 'PLAIN'\n\
         sasl.jaas.config = 'hunter2'\nssl.key.password = 5.5\n\
         ssl.key.pasword = 'hunter2'\npassword = 'hunter2'\n"
    ));
    let right = [
        "[link.dr] password (line 14): no such property; docs/CONFIG.md lists all there are",
        "[link.dr] ssl.key.password (line 12): must be text of at most 1048576 bytes",
        "[link.dr] ssl.key.pasword (line 13): no such property; did you mean ssl.key.password?",
        "[link.dr] sasl.jaas.config: is no login: behind the login module must stand \"required\"",
    ];
    assert_eq!(said, right);
}

#[test]
fn what_a_reference_leads_to_is_never_shown() {
    let dir = std::env::temp_dir().join(format!("isolog-led-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(
        dir.join("s"),
        "servers=hunter2\nid=hunter3\njaas=x.PlainLoginModule required \
                                   username\\=\"a\" password\\=\"hunter4\";",
    )
    .unwrap();
    let wrong = ISSUE.replace("\"127.0.0.1:19092\"", "\"${file:s:servers}\"");
    let said = load_text(&wrong, &dir).unwrap_err()[0].to_string();
    assert!(said.contains("${file:s:servers}") && !said.contains("hunter"), "{said}");
    let right = format!(
        "{ISSUE}client.id = '${{file:s:id}}'\nsecurity.protocol = 'SASL_PLAINTEXT'\n\
         sasl.mechanism = 'PLAIN'\nsasl.jaas.config = '${{file:s:jaas}}'\n"
    );
    let config = load_text(&right, &dir).unwrap();
    assert_eq!(config.links.links[0].source.client_id, "hunter3");
    let shown = format!("{}{config:?}", config.effective_toml());
    assert!(
        shown.contains("client.id = \"${file:s:id}\"") && !shown.contains("hunter4"),
        "{shown}"
    );
    assert!(!config.effective_toml().contains("hunter"));
    assert_eq!(config.exposed.len(), 1, "the file is open to everybody");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn each_side_has_its_own_security_and_says_what_is_missing() {
    let check = |more: &str, part: &str| {
        let said = problems(&format!("{ISSUE}{more}"));
        assert!(said.len() == 1 && said[0].contains(part), "{more}: {said:?}");
    };
    check("security.protocol = 'SASL_SSL'", "sasl.mechanism: is missing");
    check("sasl.mechanism = 'GSSAPI'", "comes with a later release");
    let kerberos = "security.protocol = 'SASL_SSL'\nsasl.mechanism = 'GSSAPI'";
    check(kerberos, "comes with a later release");
    let sasl = "security.protocol = 'SASL_PLAINTEXT'\nsasl.mechanism = ";
    check(&format!("{sasl}'PLAIN'"), "sasl.jaas.config: is missing: PlainLoginModule");
    let scram = "sasl.jaas.config = 'x.ScramLoginModule required username=\"a\" password=\"b\";'";
    check(&format!("{sasl}'PLAIN'\n{scram}"), "needs PlainLoginModule there");
    check(&format!("{sasl}'OAUTHBEARER'"), "token.endpoint.url: is missing");
    let http = "sasl.oauthbearer.token.endpoint.url = 'http://idp/token'";
    check(&format!("{sasl}'OAUTHBEARER'\n{http}"), "https://");
    let ssl = "security.protocol = 'SSL'\n";
    check(&format!("{ssl}ssl.truststore.location = 'none.pem'"), "cannot read ./none.pem");
    let crl = &format!("{ssl}ssl.crl.location = 'none.pem'");
    check(crl, "ssl.crl.location: cannot read ./none.pem");
    check(&format!("{ssl}ssl.enabled.protocols = 'TLSv1.1'"), "TLSv1.2 and TLSv1.3");
    check(&format!("{ssl}ssl.cipher.suites = 'RC4'"), "TLS_AES_128_GCM_SHA256");
    check(
        &format!("{ssl}ssl.truststore.certificates = 'x'\nssl.truststore.location = 'y'"),
        "cannot be set beside",
    );
    let config = load_here(&format!("{ISSUE}{sasl}'SCRAM-SHA-512'\n{scram}")).unwrap();
    assert!(config.links.destination.security.login.is_none());
    let login = config.links.links[0].source.security.login.as_ref().unwrap();
    assert_eq!(login.mechanism(), "SCRAM-SHA-512");
}

#[test]
fn a_properties_file_gives_what_the_section_leaves_out() {
    let dir = std::env::temp_dir().join(format!("isolog-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let write = |text: &str| std::fs::write(dir.join("c.properties"), text).unwrap();
    let text = "[destination]\nproperties.file = 'c.properties'\nclient.id = 'mine'\n\
                [link.a]\nbootstrap.servers = 'b:1'\nmirror.topics = '*'";
    write("bootstrap.servers=a:1,c:2\nclient.id=theirs\ngroup.id=g\nrequest.timeout.ms=700\n");
    let config = load_text(text, &dir).unwrap();
    let destination = &config.links.destination;
    assert_eq!((destination.client_id.as_str(), destination.bootstrap.len()), ("mine", 2));
    assert_eq!(destination.request_timeout, Duration::from_millis(700));
    assert!(config.effective_toml().contains("request.timeout.ms = 700  # from properties.file"));
    write("bootstrap.servers=a:1\nclient.idd=x\nproperties.file=y\n");
    let said: Vec<_> = load_text(text, &dir).unwrap_err().iter().map(Problem::to_string).collect();
    let file = dir.join("c.properties");
    let right = [
        format!(
            "[destination] client.idd (in {}): no such property; did you mean client.id?",
            file.display()
        ),
        format!(
            "[destination] properties.file (in {}): has no place inside a .properties file",
            file.display()
        ),
    ];
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(said, right);
    let gone = load_text(text, &dir).unwrap_err()[0].to_string();
    assert!(gone.starts_with("[destination] properties.file (line 2): cannot read "), "{gone}");
}

#[test]
fn the_effective_settings_load_again() {
    let filters =
        r#"{"topicFilters":[{"name":"p","patternType":"prefix","filterType":"exclude"}]}"#;
    let more = format!(
        "auto.create.mirror.topics.enable = 'TRUE'\n\
         auto.create.mirror.topics.filters = '{filters}'\nclient.id = 'a \"b\" \\ c'\n"
    );
    let first = load_here(&format!("{ISSUE}{more}")).unwrap();
    let printed = first.effective_toml();
    let second = load_here(&printed).unwrap();
    let without_notes = |config: &Config| config.effective_toml().replace("  # default", "");
    assert_eq!(without_notes(&first), without_notes(&second));
    assert!(printed.contains("\nlog.level = \"info\"  # default\n"), "{printed}");
    let rows = serde_json::to_value(first.effective_rows()).unwrap();
    let listen = rows.as_array().unwrap().iter().find(|row| row["name"] == "listen").unwrap();
    assert_eq!(listen["value"], "127.0.0.1:8472");
    assert_eq!((&listen["section"], &listen["origin"]), (&"service".into(), &"config".into()));
    let declared = first.declared();
    assert_eq!(declared.len(), 1);
    let listed = &declared[&LinkName("dr".into())];
    let filters = listed.iter().find(|one| one.name == "auto.create.mirror.topics.filters");
    let right =
        r#"{"topicFilters":[{"filterType":"EXCLUDE","name":"p","patternType":"PREFIXED"}]}"#;
    assert_eq!(filters.and_then(|one| one.value.as_deref()), Some(right));
}

#[test]
fn files_with_secrets_that_everybody_can_write_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = std::env::temp_dir().join(format!("isolog-open-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let login = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config=\
                 x.PlainLoginModule required username=\"a\" password=\"${env:PATH}\";\n";
    let inline: String = login
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| format!("{name} = '''{value}'''\n"))
        .collect();
    let (config, client) = (dir.join("isolog.toml"), dir.join("client.properties"));
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let said = |path: &Path| match load(path) {
        Ok(config) => config.exposed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    };
    std::fs::write(&config, format!("{ISSUE}{inline}")).unwrap();
    for (bits, refused) in
        [(0o600, false), (0o660, false), (0o644, false), (0o622, true), (0o666, true)]
    {
        mode(&config, bits);
        let refusals = said(&config);
        let word = format!("{} can be written by every user", config.display());
        assert_eq!(refusals.iter().any(|text| text.starts_with(&word)), refused, "{bits:o}");
    }
    mode(&config, 0o666);
    // without a secret nobody gains by writing it but who may start isolog
    std::fs::write(&config, ISSUE).unwrap();
    assert_eq!(said(&config), [""; 0]);
    mode(&config, 0o600);
    std::fs::write(&config, format!("{ISSUE}properties.file = 'client.properties'\n")).unwrap();
    std::fs::write(&client, login).unwrap();
    for (bits, parts) in [
        (0o600, &[][..]),
        (0o622, &["client.properties can be written by every user"]),
        (0o666, &["client.properties can be written by every user"]),
    ] {
        mode(&client, bits);
        let refusals = said(&config);
        assert_eq!(refusals.len(), parts.len(), "{bits:o}: {refusals:?}");
        assert!(refusals.iter().zip(parts).all(|(text, part)| text.contains(part)), "{refusals:?}");
    }
    std::fs::write(&client, login.replace("${env:PATH}", "hunter2")).unwrap();
    mode(&client, 0o644);
    let [warned] = said(&config).try_into().unwrap();
    assert!(
        warned.contains("can be read by every user") && !warned.contains("hunter2"),
        "{warned}"
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_is_taken_in_another_way_is_noted_without_a_value() {
    let dir = std::env::temp_dir().join(format!("isolog-notes-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let text = "bootstrap.servers=a:1\nbasic.auth.user.info=hunter2\nproducer.acks=all\n\
                isolation.level=read_uncommitted\nclient.id=\nreconnect.backoff.max.ms=10\n\
                retry.backoff.ms=0\nmetadata.max.age.ms=9223372036854775807\nhunter2,=x\n";
    std::fs::write(dir.join("c.properties"), text).unwrap();
    let config = "[destination]\nproperties.file = 'c.properties'\n[link.a]\n\
                  bootstrap.servers = 'b:1'\nmirror.topics = '*'";
    let config = load_text(config, &dir).unwrap();
    let notes: Vec<String> = config.notes.iter().map(ToString::to_string).collect();
    let [passed, prefixed, pause] = notes.as_slice() else { panic!("{notes:?}") };
    assert!(
        passed.ends_with("over: basic.auth.user.info, isolation.level, and 1 more"),
        "{passed}"
    );
    assert!(prefixed.ends_with("where it shall hold: producer.acks"), "{prefixed}");
    assert!(pause.contains("reconnect.backoff.ms = 50: is beyond"), "{pause}");
    assert!(!notes.concat().contains("hunter2"));
    let destination = &config.links.destination;
    assert_eq!(destination.client_id, "isolog");
    assert_eq!(destination.redial_pause, Duration::from_millis(10));
    assert_eq!(destination.retry_pause, Duration::from_millis(1));
    assert_eq!(destination.metadata_age_max, Duration::from_secs(365 * 24 * 3600));
    let raised = load_here(&format!("{ISSUE}reconnect.backoff.ms = 5000\n")).unwrap();
    assert_eq!(raised.links.links[0].source.redial_pause_max, Duration::from_secs(5));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_fault_of_a_store_is_told_at_its_own_property() {
    let check = |lines: &str, key: &str, part: &str| {
        let said = problems(&format!("{ISSUE}security.protocol = 'SSL'\n{lines}"));
        let [said] = said.as_slice() else { panic!("{said:?}") };
        assert!(said.starts_with(&format!("[link.dr] {key}: ")), "{key}: {said}");
        assert!(said.contains(part), "{part}: {said}");
    };
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/stores/key-pbe-sha1-3des.pem");
    let ca = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/client-properties/ca.pem");
    let keystore = |file: &str| format!("ssl.keystore.location = '{file}'\n");
    check("ssl.truststore.location = '/dev/null'", "ssl.truststore.location", "no certificate");
    check("ssl.truststore.certificates = 'x'", "ssl.truststore.certificates", "no certificate");
    check(&keystore("none.pem"), "ssl.keystore.location", "cannot read");
    check(&keystore(ca), "ssl.keystore.location", "no private key");
    check(&keystore(key), "ssl.key.password", "set ssl.key.password");
    let wrong = format!("{}ssl.key.password = 'x'", keystore(key));
    check(&wrong, "ssl.key.password", "does not open");
    check(
        "ssl.keystore.key = 'x'\nssl.keystore.certificate.chain = 'y'",
        "ssl.keystore.key",
        "no private key",
    );
    check("ssl.crl.location = '/dev/null'", "ssl.crl.location", "no revocation list");
    check("ssl.cipher.suites = 'RC4'", "ssl.cipher.suites", "RC4 is not there");
    for key in ["ssl.keystore.location", "secrets.key.file"] {
        let said = problems(&ISSUE.replace("[link.dr]", &format!("{key} = 'none.pem'\n[link.dr]")));
        let right = format!("[service] {key}: cannot read");
        assert!(said.len() == 1 && said[0].starts_with(&right), "{said:?}");
    }
}
