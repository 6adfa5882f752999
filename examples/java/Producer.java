/*
 * A shop that sends Telegram messages from its own transactions: Java 17 or newer and PostgreSQL's JDBC driver.
 *
 * It shows: a message committed with its order, and one rolled back with it; one scheduled and cancelled; an
 * idempotency key used twice; an edit of a message that is not sent yet; a refused row; waiting for the end of each.
 *
 * Run it while a worker runs (examples/README.md starts one); the chat's id is 42 unless given. The driver is
 * org.postgresql:postgresql of Maven Central, or Debian's package libpostgresql-jdbc-java:
 *     export OUTBOX_DATABASE_URL=postgresql://shop@db/shop
 *     java -cp /usr/share/java/postgresql.jar examples/java/Producer.java
 */

import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.util.PSQLException;

public class Producer {

    // JDBC sends a String as varchar, which PostgreSQL does not take for jsonb: hence ?::jsonb.
    static final String INSERT = "INSERT INTO outbox.message (chat_id, payload) VALUES (?, ?::jsonb) RETURNING id";
    static final String SEND_WITH_KEY = "SELECT outbox.send(?, ?::jsonb, p_idempotency_key => ?)";

    record Status(String status, String telegramMessageId) {
        boolean isEnd() {
            return !status.equals("queued") && !status.equals("sending");
        }
    }

    public static void main(String[] args) throws Exception {
        long chatId = args.length > 0 ? Long.parseLong(args[0]) : 42;
        boolean sent;
        try (Connection connection = connect(System.getenv("OUTBOX_DATABASE_URL"))) {
            sent = run(connection, chatId);
        }
        System.exit(sent ? 0 : 1);
    }

    static boolean run(Connection connection, long chatId) throws SQLException {
        try (var statement = connection.createStatement()) {
            statement.execute("""
                    CREATE TABLE IF NOT EXISTS orders (
                        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                        chat_id bigint NOT NULL,
                        state text NOT NULL)
                    """);
        }

        // The order and its message are committed together, or neither is.
        long[] ids = inTransaction(connection, () -> {
            long order = (long) value(connection,
                    "INSERT INTO orders (chat_id, state) VALUES (?, 'paid') RETURNING id", chatId);
            return new long[] {order, (long) value(connection, INSERT, chatId, text("Order %d is paid", order))};
        });
        long orderId = ids[0];
        long paid = ids[1];
        System.out.printf("order %d is paid, message %d is committed with it%n", orderId, paid);

        // Rolled back, the message was never there: its id is spent, its status unknown.
        connection.setAutoCommit(false);
        update(connection, "UPDATE orders SET state = 'refused' WHERE id = ?", orderId);
        long refused = (long) value(connection, INSERT, chatId, text("Order %d is refused", orderId));
        connection.rollback();
        connection.setAutoCommit(true);
        System.out.printf("message %d was rolled back with its order: %s%n",
                refused, statusOf(connection, refused).status());

        // Scheduled for tomorrow, and cancelled with the change that made it needless. For timestamptz JDBC takes an
        // OffsetDateTime, but no Instant; a LocalDateTime would be read in the session's time zone.
        long reminder = (long) value(connection,
                "INSERT INTO outbox.message (chat_id, payload, next_attempt_at) VALUES (?, ?::jsonb, ?) RETURNING id",
                chatId, text("How was order %d?", orderId), OffsetDateTime.now().plusDays(1));
        boolean cancelled = inTransaction(connection, () -> {
            update(connection, "UPDATE orders SET state = 'returned' WHERE id = ?", orderId);
            return (boolean) value(connection, "SELECT outbox.cancel(?)", reminder);
        });
        System.out.printf("message %d was scheduled, and is cancelled: %b%n", reminder, cancelled);

        // A retry of the same step, say after a lost connection: the key is used, so this is the first one's id.
        String key = "order-" + orderId + "-shipped";
        long shipped = (long) value(connection, SEND_WITH_KEY, chatId, text("Order %d is on its way", orderId), key);
        long again = (long) value(connection, SEND_WITH_KEY, chatId, text("Order %d is on its way", orderId), key);
        System.out.printf("message %d has a key, and with that key again: message %d%n", shipped, again);

        // An edit of a message of our own that has no Telegram id yet: the outbox puts it in, and sends it after that.
        long edit = (long) value(connection, """
                INSERT INTO outbox.message (chat_id, method, payload, target_id)
                VALUES (?, 'editMessageText', ?::jsonb, ?) RETURNING id
                """, chatId, text("Order %d is paid and packed", orderId), paid);
        System.out.printf("message %d will edit message %d%n", edit, paid);

        // What could never be sent is refused at once, with what to do. It also ends the transaction it happens in.
        try {
            value(connection, INSERT, chatId, "\"hi\"");
        } catch (PSQLException error) {
            var message = error.getServerErrorMessage();
            if (message == null) {
                throw error; // the connection's fault, not ours
            }
            System.out.printf("refused: %s. %s%n", message.getMessage(), message.getHint());
        }

        // A chat is a lane: once the last message has ended, so have those before it.
        Status last = waitForEnd(connection, edit, Duration.ofSeconds(30));
        for (long id : new long[] {paid, reminder, shipped, edit}) {
            Status message = statusOf(connection, id);
            System.out.printf("message %d: %s, Telegram's message id %s%n",
                    id, message.status(), message.telegramMessageId());
        }
        if (!last.status().equals("sent")) {
            System.err.printf("message %d is %s, not sent. Does a worker run? outbox up starts one.%n",
                    edit, last.status());
            return false;
        }
        return true;
    }

    /** Listens first, then asks for the notification, then looks: so none is missed. In autocommit. */
    static Status waitForEnd(Connection connection, long id, Duration timeout) throws SQLException {
        Instant deadline = Instant.now().plus(timeout);
        try (var statement = connection.createStatement()) {
            statement.execute("LISTEN outbox_ended");
        }
        value(connection, "SELECT outbox.watch(?, ?)", id, (double) timeout.toSeconds());
        Status message = statusOf(connection, id);
        while (!message.isEnd() && Instant.now().isBefore(deadline)) {
            // Every two seconds at least: a notification is a hint, behind a transaction pooler there is none.
            connection.unwrap(PGConnection.class).getNotifications(2000);
            message = statusOf(connection, id);
        }
        return message;
    }

    static Status statusOf(Connection connection, long id) throws SQLException {
        try (var statement = prepare(connection, "SELECT status, telegram_message_id FROM outbox.status(?)", id);
                ResultSet row = statement.executeQuery()) {
            row.next();
            return new Status(row.getString(1), row.getString(2));
        }
    }

    /** A payload with a number in its text. For a text that users write take a JSON library: quotes must be escaped. */
    static String text(String format, long number) {
        return "{\"text\": \"" + format.formatted(number) + "\"}";
    }

    interface Work<T> {
        T run() throws SQLException;
    }

    static <T> T inTransaction(Connection connection, Work<T> work) throws SQLException {
        connection.setAutoCommit(false);
        try {
            T result = work.run();
            connection.commit();
            return result;
        } catch (Throwable error) {
            connection.rollback();
            throw error;
        } finally {
            connection.setAutoCommit(true);
        }
    }

    static Object value(Connection connection, String sql, Object... parameters) throws SQLException {
        try (var statement = prepare(connection, sql, parameters);
                ResultSet row = statement.executeQuery()) {
            row.next();
            return row.getObject(1);
        }
    }

    static void update(Connection connection, String sql, Object... parameters) throws SQLException {
        try (var statement = prepare(connection, sql, parameters)) {
            statement.executeUpdate();
        }
    }

    static PreparedStatement prepare(Connection connection, String sql, Object... parameters) throws SQLException {
        PreparedStatement statement = connection.prepareStatement(sql);
        for (int i = 0; i < parameters.length; i++) {
            statement.setObject(i + 1, parameters[i]);
        }
        return statement;
    }

    /** From libpq's URL, postgresql://shop:secret@db/shop?sslmode=require; JDBC wants user and password beside it. */
    static Connection connect(String libpqUrl) throws SQLException {
        URI url = URI.create(libpqUrl == null ? "" : libpqUrl);
        if (url.getRawAuthority() == null) {
            throw new IllegalArgumentException("set OUTBOX_DATABASE_URL to postgresql://user:password@host/database");
        }
        String[] authority = url.getRawAuthority().split("@");
        Properties properties = new Properties();
        if (authority.length == 2) {
            String[] login = authority[0].split(":", 2);
            properties.setProperty("user", URLDecoder.decode(login[0], StandardCharsets.UTF_8));
            if (login.length == 2) {
                properties.setProperty("password", URLDecoder.decode(login[1], StandardCharsets.UTF_8));
            }
        }
        String query = url.getRawQuery() == null ? "" : "?" + url.getRawQuery();
        String hosts = authority[authority.length - 1];
        return DriverManager.getConnection("jdbc:postgresql://" + hosts + url.getRawPath() + query, properties);
    }
}
