// Requests of Java's HttpClient, for clients.t, which says what the lines mean.
//
//     java Client.java 1.1|2 CA-FILE < requests

import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.FileInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Client {
    static final String FORM = "application/x-www-form-urlencoded";
    static final int PAUSE = 50;
    static final Duration TIMEOUT = Duration.ofSeconds(10);

    // The body in two parts, the first of them late.
    static class Late extends ByteArrayInputStream {
        Late(byte[] body) {
            super(body);
        }

        @Override
        public synchronized int read(byte[] buffer, int from, int length) {
            try {
                Thread.sleep(PAUSE);
            } catch (InterruptedException e) {
                return -1;
            }

            return super.read(buffer, from, Math.min(length, (buf.length + 1) / 2));
        }

        @Override
        public byte[] readNBytes(int length) {
            byte[] part = new byte[length];
            int n = read(part, 0, length);

            return n < 0 ? new byte[0] : java.util.Arrays.copyOf(part, n);
        }

        @Override
        public int readNBytes(byte[] buffer, int from, int length) {
            int n = read(buffer, from, length);

            return n < 0 ? 0 : n;
        }
    }

    static HttpRequest request(String shape, String url, String text) {
        HttpRequest.Builder made = HttpRequest.newBuilder(URI.create(url)).timeout(TIMEOUT);

        if (shape.equals("get")) {
            return made.GET().build();
        }

        if (shape.equals("empty")) {
            return made.POST(BodyPublishers.noBody()).build();
        }

        made.header("Content-Type", text.startsWith("grant_type=") ? FORM : "text/plain");

        byte[] body = (shape.equals("large")
            ? "x".repeat(Integer.parseInt(text)) : text).getBytes();
        BodyPublisher streamed = BodyPublishers.ofInputStream(() -> new Late(body));

        switch (shape) {
        case "late":
            return made.POST(BodyPublishers.fromPublisher(streamed, body.length)).build();
        case "chunked":
            return made.POST(streamed).build();
        case "expect":
            made.expectContinue(true);
        }

        return made.POST(BodyPublishers.ofByteArray(body)).build();
    }

    static SSLContext trust(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        TrustManagerFactory factory = TrustManagerFactory.getInstance(
            TrustManagerFactory.getDefaultAlgorithm());
        SSLContext context = SSLContext.getInstance("TLS");

        store.load(null, null);

        try (InputStream in = new FileInputStream(file)) {
            store.setCertificateEntry("ca",
                CertificateFactory.getInstance("X.509").generateCertificate(in));
        }

        factory.init(store);
        context.init(null, factory.getTrustManagers(), null);
        return context;
    }

    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newBuilder()
            .version(arguments[0].equals("2") ? HttpClient.Version.HTTP_2
                : HttpClient.Version.HTTP_1_1)
            .sslContext(trust(arguments[1]))
            .build();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        String line;

        while ((line = in.readLine()) != null) {
            String[] part = line.split("\t", -1);

            try {
                HttpResponse<String> answer = client.send(
                    request(part[1], part[2], part.length > 3 ? part[3] : ""),
                    BodyHandlers.ofString());

                System.out.println(String.join("\t", part[0],
                    "" + answer.statusCode(),
                    answer.headers().firstValue("x-requests").orElse("0"),
                    answer.body().replaceAll("\\s+", " ")));
            } catch (Exception e) {
                System.out.println(String.join("\t", part[0], "failed", "0", e.toString()));
            }
        }

        System.exit(0);
    }
}
