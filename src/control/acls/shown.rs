//! Bindings as the lines of `kafka-acls` that create or delete them.
//!
//! It never runs them.

use crate::control::acls::Binding;
use crate::control::acls::PatternType;
use crate::control::acls::Permission;
use crate::control::acls::ResourceType;

/// The line that creates a binding at the cluster behind `bootstrap`, or deletes it.
pub fn line(binding: &Binding, bootstrap: &str, is_deleted: bool) -> String {
    let verb = if is_deleted { "--remove --force" } else { "--add" };
    let (who, host) = match binding.permission {
        Permission::Allow => ("--allow-principal", "--allow-host"),
        Permission::Deny => ("--deny-principal", "--deny-host"),
    };
    let mut line = format!(
        "kafka-acls.sh --bootstrap-server {bootstrap} {verb} {who} {} {host} {} --operation {} {}",
        quoted(&binding.principal),
        quoted(&binding.host),
        binding.operation.tool_word(),
        binding.resource.tool_word(),
    );
    // the cluster has one name, which the tool knows
    if binding.resource != ResourceType::Cluster {
        line.push(' ');
        line.push_str(&quoted(&binding.name));
    }
    if binding.pattern == PatternType::Prefixed {
        line.push_str(" --resource-pattern-type prefixed");
    }
    line
}

/// For a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::acls::Operation;

    #[test]
    fn a_line_says_all_of_a_binding() {
        let mut one = Binding {
            resource: ResourceType::Topic,
            pattern: PatternType::Prefixed,
            name: "or'ders".into(),
            principal: "User:a b".into(),
            host: "*".into(),
            operation: Operation::AlterConfigs,
            permission: Permission::Deny,
        };
        assert_eq!(
            line(&one, "b:9092", false),
            "kafka-acls.sh --bootstrap-server b:9092 --add --deny-principal 'User:a b' \
             --deny-host '*' --operation AlterConfigs --topic 'or'\\''ders' \
             --resource-pattern-type prefixed"
        );
        one.resource = ResourceType::Cluster;
        one.pattern = PatternType::Literal;
        one.permission = Permission::Allow;
        assert_eq!(
            line(&one, "b:9092", true),
            "kafka-acls.sh --bootstrap-server b:9092 --remove --force --allow-principal \
             'User:a b' --allow-host '*' --operation AlterConfigs --cluster"
        );
    }
}
