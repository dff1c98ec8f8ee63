// What Kafka's own client makes of client files and of JAAS lines, so that nobody has to believe us.
// It never dials anybody: names need not resolve, and the first message of a login is only made.
//
//   Judge file PATH…   a client file: read, checked, its stores opened, its login put together
//   Judge jaas PATH    a file of JAAS lines, each as hex of its UTF-8
//
// For each one a line: `taken` or `refused`, a tab, and for a login the first message of PLAIN as
// hex, or what was refused and why. A file's line goes on with the settings that clients differ in.

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import javax.security.auth.Subject;
import javax.security.auth.login.AppConfigurationEntry;
import javax.security.auth.spi.LoginModule;
import javax.security.sasl.Sasl;
import javax.security.sasl.SaslClient;
import org.apache.kafka.clients.ClientUtils;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.common.config.types.Password;
import org.apache.kafka.common.network.ChannelBuilder;
import org.apache.kafka.common.security.JaasContext;
import org.apache.kafka.common.security.authenticator.SaslClientCallbackHandler;
import org.apache.kafka.common.utils.LogContext;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.common.utils.Utils;

public final class Judge {
    private static final List<String> SHOWN = List.of("bootstrap.servers", "client.id",
        "ssl.truststore.location", "ssl.enabled.protocols", "request.timeout.ms",
        "reconnect.backoff.ms", "reconnect.backoff.max.ms", "retry.backoff.ms",
        "metadata.max.age.ms");

    public static void main(String[] args) throws Exception {
        for (int i = 1; i < args.length; i++) {
            Path path = Path.of(args[i]);
            if (args[0].equals("file")) {
                say(() -> file(path));
                continue;
            }
            for (String hex : Files.readAllLines(path)) {
                byte[] line = HexFormat.of().parseHex(hex);
                say(() -> login(new String(line, StandardCharsets.UTF_8)));
            }
        }
    }

    private interface Question {
        String answer() throws Exception;
    }

    private static void say(Question question) {
        try {
            System.out.println("taken\t" + question.answer());
        } catch (Throwable refused) {
            StringBuilder words = new StringBuilder();
            for (Throwable cause = refused; cause != null; cause = cause.getCause()) {
                words.append(words.length() == 0 ? "" : ": ").append(cause.getMessage());
            }
            System.out.println("refused\t" + words.toString().replaceAll("[\\p{Cntrl}]+", " "));
        }
    }

    private static String file(Path path) throws Exception {
        Properties read = Utils.loadProps(path.toString());
        AdminClientConfig config = new AdminClientConfig(read);
        try {
            ClientUtils.parseAndValidateAddresses(config);
        } catch (ConfigException error) {
            if (!error.getMessage().contains("No resolvable bootstrap urls")) throw error;
        }
        try (ChannelBuilder opened = ClientUtils.createChannelBuilder(config, Time.SYSTEM, new LogContext())) {
            StringBuilder words = new StringBuilder();
            Password line = config.getPassword("sasl.jaas.config");
            if (line != null) words.append("login=").append(login(line.value())).append(' ');
            for (String name : SHOWN) {
                Object value = config.values().get(name);
                words.append(name).append('=').append(value).append(' ');
            }
            return words.toString().trim();
        }
    }

    private static String login(String line) throws Exception {
        Map<String, ?> configs = Map.of("sasl.jaas.config", new Password(line));
        List<AppConfigurationEntry> entries = JaasContext.loadClientContext(configs).configurationEntries();
        Map<String, ?> options = entries.get(0).getOptions();
        Class<?> module = Class.forName(entries.get(0).getLoginModuleName());
        Subject subject = new Subject();
        LoginModule login = (LoginModule) module.getDeclaredConstructor().newInstance();
        login.initialize(subject, null, Map.of(), options);
        login.login();
        login.commit();
        SaslClientCallbackHandler handler = new SaslClientCallbackHandler();
        handler.configure(configs, "PLAIN", entries);
        String[] plain = {"PLAIN"};
        byte[] message = Subject.doAs(subject, (java.security.PrivilegedExceptionAction<byte[]>) () -> {
            SaslClient client = Sasl.createSaslClient(plain, null, "kafka", "localhost", Map.of(), handler);
            return client.evaluateChallenge(new byte[0]);
        });
        return HexFormat.of().formatHex(message);
    }
}
