// The little command line that Dump and Load share: `--name value` and bare `--flag`.
// It never guesses: an unknown name or a missing value ends the program with status 2.

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.common.utils.Exit;

final class Args {
    private final Map<String, List<String>> given = new LinkedHashMap<>();

    Args(String[] args, Set<String> names, Set<String> flags) {
        for (int i = 0; i < args.length; i++) {
            String name = args[i].startsWith("--") ? args[i].substring(2) : "";
            if (flags.contains(name)) {
                given.put(name, List.of("true"));
            } else if (names.contains(name) && i + 1 < args.length) {
                given.computeIfAbsent(name, n -> new ArrayList<>()).add(args[++i]);
            } else {
                System.err.println("what is " + args[i] + "? known: " + names + " " + flags);
                Exit.exit(2);
            }
        }
    }

    boolean has(String name) {
        return given.containsKey(name);
    }

    String text(String name, String otherwise) {
        return has(name) ? all(name).get(0) : otherwise;
    }

    String need(String name) {
        if (!has(name)) {
            System.err.println("--" + name + " is needed");
            Exit.exit(2);
        }
        return text(name, null);
    }

    long number(String name, long otherwise) {
        return has(name) ? Long.parseLong(text(name, null)) : otherwise;
    }

    List<String> all(String name) {
        return given.getOrDefault(name, List.of());
    }

    /** Adds every `--prop key=value` to Kafka client properties; it wins over what is there. */
    void propsInto(Map<String, Object> config) {
        for (String prop : all("prop")) {
            int at = prop.indexOf('=');
            config.put(prop.substring(0, at), prop.substring(at + 1));
        }
    }
}
