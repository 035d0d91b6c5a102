import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Clients of java.net.http: requests until standard input ends, and then what became of them, as JSON.
 *
 * <p>The arguments are URL CERTIFICATE VERSION CLIENTS. With HTTP_2 all clients share an HttpClient, with HTTP_1_1
 * each has its own, which keeps a connection. They think up to 20 ms between requests.
 */
class Client {
    static final AtomicLong REQUESTS = new AtomicLong();
    static final AtomicLong SLOWEST = new AtomicLong();
    static final Map<String, AtomicLong> FAILURES = new ConcurrentHashMap<>();
    /** The sessions of TLS that had answers, each of one connection. */
    static final Set<String> SESSIONS = ConcurrentHashMap.newKeySet();
    static volatile boolean stopped;

    public static void main(String[] arguments) throws Exception {
        var version = HttpClient.Version.valueOf(arguments[2]);
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var file = new FileInputStream(arguments[1])) {
            store.setCertificateEntry("it", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(store);
        var context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        var builder = HttpClient.newBuilder().version(version).sslContext(context);
        var shared = builder.build();
        var threads = new ArrayList<Thread>();
        for (int i = 0; i < Integer.parseInt(arguments[3]); i++) {
            var client = version == HttpClient.Version.HTTP_2 ? shared : builder.build();
            var thread = new Thread(() -> run(client, URI.create(arguments[0]), version));
            threads.add(thread);
            thread.start();
        }
        System.in.readAllBytes();
        stopped = true;
        for (var thread : threads) {
            thread.join();
        }
        var failed = FAILURES.values().stream().mapToLong(AtomicLong::get).sum();
        var failures = FAILURES.entrySet().stream()
                .map(it -> "\"" + it.getKey().replaceAll("[\"\\\\]", "") + "\":" + it.getValue())
                .collect(Collectors.joining(","));
        System.out.printf(
                "{\"requests\":%s,\"failed\":%d,\"connections\":%d,\"slowest\":%s,\"failures\":{%s}}%n",
                REQUESTS, failed, SESSIONS.size(), SLOWEST.get() / 1e6, failures);
        System.exit(0);
    }

    static void run(HttpClient client, URI uri, HttpClient.Version version) {
        var random = new Random();
        for (var post = false; !stopped; post = !post) {
            // Without one some requests would wait for ever.
            var request = HttpRequest.newBuilder(uri).timeout(Duration.ofSeconds(3));
            if (post) {
                request.POST(BodyPublishers.ofString("hello"));
            }
            var begin = System.nanoTime();
            String failure = null;
            try {
                HttpResponse<String> answer = client.send(request.build(), BodyHandlers.ofString());
                if (answer.statusCode() != 200 || answer.version() != version) {
                    failure = answer.version() + " " + answer.statusCode();
                }
                SESSIONS.add(HexFormat.of().formatHex(answer.sslSession().get().getId()));
            } catch (Exception error) {
                failure = error.getClass().getSimpleName() + ": " + error.getMessage();
            }
            REQUESTS.incrementAndGet();
            SLOWEST.accumulateAndGet(System.nanoTime() - begin, Math::max);
            if (failure != null) {
                var name = (post ? "POST: " : "GET: ") + failure;
                FAILURES.computeIfAbsent(name, it -> new AtomicLong()).incrementAndGet();
            }
            try {
                Thread.sleep(random.nextInt(20));
            } catch (InterruptedException error) {
                return;
            }
        }
    }
}
