//! What `--config` says: a file of properties, or pairs on the command line.
//!
//! It never shows a value: it may be a password.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::Value;
use serde_json::json;

use crate::config;

use super::Failure;
use super::Remote;
use super::plain;

/// Reads `--config FILE|k=v,…`: the path of a file that is there, as a Java client reads it, or
/// pairs.
pub fn read(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = BTreeMap::new();
    for text in given {
        let path = Path::new(text);
        let is_pair = begins_a_pair(text);
        let some = match (path.is_file(), is_pair) {
            (true, _) => config::properties_of(path).map_err(Failure::Failed)?,
            (false, true) => pairs(text),
            (false, false) => {
                let text = "--config takes a file that is there, or NAME=VALUE pairs separated \
                            by commas";
                return Err(Failure::Failed(text.to_owned()));
            }
        };
        all.extend(some);
    }
    Ok(all)
}

/// An API key of the other cluster, as Cluster Linking's command line takes one: a login by PLAIN
/// over TLS.
#[derive(clap::Args)]
pub struct ApiKey {
    /// An API key of the source: a login by SASL_SSL and PLAIN
    #[arg(long, value_name = "KEY", visible_alias = "remote-api-key")]
    #[arg(requires = "source_api_secret")]
    source_api_key: Option<String>,
    /// Its secret; better in the environment, where other users of the machine do not see it
    #[arg(long, value_name = "SECRET", visible_alias = "remote-api-secret")]
    #[arg(env = "ISOLOG_SOURCE_API_SECRET", hide_env_values = true)]
    source_api_secret: Option<String>,
}

impl ApiKey {
    /// Adds the login that it stands for.
    pub fn add_to(&self, configs: &mut BTreeMap<String, String>) -> Result<(), Failure> {
        let Some((key, secret)) = self.source_api_key.as_ref().zip(self.source_api_secret.as_ref())
        else {
            return Ok(());
        };
        let taken = ["security.protocol", "sasl.mechanism", "sasl.jaas.config"];
        if let Some(name) = taken.into_iter().find(|name| configs.contains_key(*name)) {
            return Err(Failure::Failed(format!(
                "--config has {name}, and --source-api-key is a login too: leave one of them out"
            )));
        }
        let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
        let (key, secret) = (quoted(key), quoted(secret));
        let jaas = format!("{module} required username={key} password={secret};");
        let values = ["SASL_SSL".to_owned(), "PLAIN".to_owned(), jaas];
        configs.extend(taken.map(str::to_owned).into_iter().zip(values));
        Ok(())
    }
}

/// A text between quotes, as a JAAS line has it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What Cluster Linking's command line is told of the cluster that a link belongs to.
#[derive(clap::Args)]
pub struct Own {
    /// The destination cluster's id, compared with the one of the isolog that is asked
    #[arg(long, value_name = "ID")]
    destination_cluster: Option<String>,
    /// Taken and not used: isolog reaches its own cluster as its config file says
    #[arg(long, value_name = "HOST:PORT,...", hide = true)]
    destination_bootstrap_server: Option<String>,
    /// Taken and not used
    #[arg(long, value_name = "KEY", hide = true, alias = "local-api-key")]
    destination_api_key: Option<String>,
    /// Taken and not used
    #[arg(long, value_name = "SECRET", hide = true, alias = "local-api-secret")]
    destination_api_secret: Option<String>,
}

impl Own {
    /// Whether that is the cluster which is meant; what is not used is told.
    pub async fn check(&self, remote: &Remote) -> Result<(), Failure> {
        let unused = [
            &self.destination_bootstrap_server,
            &self.destination_api_key,
            &self.destination_api_secret,
        ];
        if unused.iter().any(|one| one.is_some()) {
            let text = "isolog: its own cluster is reached as its config file says under \
                        [destination]: what --destination-… says of addresses and keys is not used";
            let _ = writeln!(std::io::stderr(), "{text}");
        }
        let Some(wanted) = &self.destination_cluster else { return Ok(()) };
        let is = remote.cluster().await?;
        match *wanted == is {
            true => Ok(()),
            false => Err(Failure::Failed(format!(
                "the isolog at {} belongs to destination cluster {}, not to {}\nNext: give the \
                 address of the right one by --url or ISOLOG_URL",
                remote.address,
                plain(&is),
                plain(wanted)
            ))),
        }
    }
}

/// As the body of a request has them.
pub fn data(configs: &BTreeMap<String, String>) -> Vec<Value> {
    configs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

/// A piece without a name of its own belongs to the value before it: addresses and JSON have commas
/// too.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let mut all: Vec<String> = Vec::new();
    for piece in text.split(',') {
        match all.last_mut() {
            Some(last) if !begins_a_pair(piece) => {
                last.push(',');
                last.push_str(piece);
            }
            _ => all.push(piece.to_owned()),
        }
    }
    let split = all.iter().filter_map(|pair| pair.split_once('='));
    split.map(|(name, value)| (name.trim().to_owned(), value.to_owned())).collect()
}

/// Whether a text begins with the name of a property and an equals sign.
fn begins_a_pair(text: &str) -> bool {
    let Some((name, _)) = text.split_once('=') else { return false };
    let name = name.trim();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.starts_with(|letter: char| letter.is_ascii_lowercase()) && name.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &[(&str, &str)]) {
        let want = want.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(pairs(text), want, "{text}");
    }

    #[test]
    fn pairs_keep_the_commas_of_their_values() {
        check("a.b=1,c=2", &[("a.b", "1"), ("c", "2")]);
        check("bootstrap.servers=x:1,y:2,c=", &[("bootstrap.servers", "x:1,y:2"), ("c", "")]);
        let json = r#"{"topicFilters":[{"name":"*","patternType":"LITERAL"}]}"#;
        check(&format!("f={json},d=e=f"), &[("f", json), ("d", "e=f")]);
        let jaas = r#"x.Plain required username="u,=v" password="p";"#;
        check(&format!("sasl.jaas.config={jaas}"), &[("sasl.jaas.config", jaas)]);
    }

    #[test]
    fn an_api_key_is_a_login_by_plain_over_tls() {
        let of = |key: &str, secret: &str| ApiKey {
            source_api_key: Some(key.to_owned()),
            source_api_secret: Some(secret.to_owned()),
        };
        let mut configs = BTreeMap::new();
        assert!(of("K1", "s\"e\\c").add_to(&mut configs).is_ok());
        assert_eq!(configs["security.protocol"], "SASL_SSL");
        assert_eq!(
            configs["sasl.jaas.config"],
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"K1\" \
             password=\"s\\\"e\\\\c\";"
        );
        let Err(Failure::Failed(told)) = of("K1", "hunter2").add_to(&mut configs) else { panic!() };
        assert!(told.contains("leave one of them out") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn what_is_neither_a_file_nor_pairs_is_refused_without_being_shown() {
        let told = read(&["hunter2".to_owned()]).unwrap_err();
        let Failure::Failed(told) = told else { panic!("{told:?}") };
        assert!(told.contains("NAME=VALUE") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn a_file_is_read_as_a_java_client_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link.properties");
        std::fs::write(&path, "# a comment\nbootstrap.servers : a:1,\\\n  b:2\n").unwrap();
        let given = [path.display().to_string(), "c=d".to_owned()];
        let read = read(&given).unwrap();
        assert_eq!(read["bootstrap.servers"], "a:1,b:2");
        assert_eq!(read["c"], "d");
    }
}
