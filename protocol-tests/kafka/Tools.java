// All tools of one test program in one JVM: a JVM that starts costs more than most of what is asked.
// It prints the port of loopback where it listens. A connection asks for one command line: the
// number of its words, then each word's length and bytes; it is answered with the exit status and
// what the tool wrote to stdout and stderr, each after its length. It ends when its stdin does.
// It never lets two tools see each other's output, and keeps nothing from one to the next.
//
//   Tools                          serves
//   Tools CLASS ARG… + CLASS ARG…  runs these, one after the other, and ends

import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

public final class Tools {
    private static final int WORDS_MAX = 10_000;
    private static final int WORD_BYTES_MAX = 1 << 20;

    /** What the tool of this thread, and of the threads that it starts, writes to. */
    private static final class Routed extends OutputStream {
        final InheritableThreadLocal<OutputStream> target = new InheritableThreadLocal<>();
        final PrintStream otherwise;

        Routed(PrintStream otherwise) {
            this.otherwise = otherwise;
        }

        private OutputStream to() {
            OutputStream mine = target.get();
            return mine == null ? otherwise : mine;
        }

        @Override public void write(int b) throws IOException {
            to().write(b);
        }

        @Override public void write(byte[] bytes, int from, int length) throws IOException {
            to().write(bytes, from, length);
        }

        @Override public void flush() throws IOException {
            to().flush();
        }
    }

    /** A tool wanted to end the process. */
    private static final class Ended extends RuntimeException {
        final int status;

        Ended(int status) {
            this.status = status;
        }
    }

    private static final PrintStream STDOUT = System.out;
    private static final Routed OUT = new Routed(STDOUT);
    private static final Routed ERR = new Routed(System.err);

    public static void main(String[] argv) throws Exception {
        System.setOut(new PrintStream(OUT, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(ERR, true, StandardCharsets.UTF_8));
        Exit.setExitProcedure((status, message) -> {
            if (message != null) System.err.println(message);
            throw new Ended(status);
        });
        if (argv.length > 0) {
            for (String line : String.join("\n", argv).split("\n\\+\n")) {
                int status = call(List.of(line.split("\n")));
                if (status != 0) System.exit(status);
            }
            System.exit(0);
        }
        serve();
    }

    private static void serve() throws Exception {
        Thread ender = new Thread(() -> {
            try {
                while (System.in.read() >= 0) { }
            } catch (IOException e) {
                // A broken stdin is a closed one.
            }
            Runtime.getRuntime().halt(0);
        });
        ender.setDaemon(true);
        ender.start();
        try (ServerSocket listener = new ServerSocket(0, 64, InetAddress.getLoopbackAddress())) {
            STDOUT.println(listener.getLocalPort());
            STDOUT.flush();
            while (true) {
                Socket socket = listener.accept();
                new Thread(() -> answer(socket)).start();
            }
        }
    }

    private static void answer(Socket socket) {
        try (socket) {
            List<String> words = words(new DataInputStream(socket.getInputStream()));
            var out = new ByteArrayOutputStream();
            var err = new ByteArrayOutputStream();
            OUT.target.set(out);
            ERR.target.set(err);
            int status = call(words);
            var to = new DataOutputStream(new java.io.BufferedOutputStream(socket.getOutputStream()));
            to.writeInt(status);
            for (ByteArrayOutputStream said : List.of(out, err)) {
                byte[] bytes = said.toByteArray();
                to.writeInt(bytes.length);
                to.write(bytes);
            }
            to.flush();
        } catch (IOException e) {
            System.err.println("a caller went away: " + e);
        }
    }

    private static List<String> words(DataInputStream from) throws IOException {
        List<String> words = new ArrayList<>();
        for (int left = bounded(from.readInt(), WORDS_MAX); left > 0; left--) {
            byte[] bytes = new byte[bounded(from.readInt(), WORD_BYTES_MAX)];
            from.readFully(bytes);
            words.add(new String(bytes, StandardCharsets.UTF_8));
        }
        return words;
    }

    private static int bounded(int number, int max) throws IOException {
        if (number < 0 || number > max) throw new IOException(number + " is not within " + max);
        return number;
    }

    /** Runs `main` of a class; its exit status. */
    private static int call(List<String> words) {
        try {
            Class<?> tool = Class.forName(words.get(0));
            // Kafka's own keep counts in static fields (ConsoleConsumer.messageCount): of two at
            // once each ends when both together have read what one was to read.
            Object turn = tool.getName().startsWith("org.apache.kafka.tools.") ? tool : new Object();
            synchronized (turn) {
                tool.getMethod("main", String[].class)
                    .invoke(null, (Object) words.subList(1, words.size()).toArray(String[]::new));
            }
            return 0;
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof Ended ended) return ended.status;
            e.getCause().printStackTrace();
            return 1;
        } catch (ReflectiveOperationException e) {
            e.printStackTrace();
            return 1;
        }
    }
}
