// A shop that sends Telegram messages from its own transactions: Node.js 18 or newer and pg (node-postgres).
//
// It shows: a message committed with its order, and one rolled back with it; one scheduled and cancelled; an
// idempotency key used twice; an edit of a message that is not sent yet; a refused row; waiting for the end of each.
//
// Run it while a worker runs (examples/README.md starts one); the chat's id is 42 unless given:
//     export OUTBOX_DATABASE_URL=postgresql://shop@db/shop
//     cd examples/node && npm install && node producer.js

import { once } from 'node:events';
import process from 'node:process';
import pg from 'pg';

// Ids stay strings, as pg gives them: bigint goes beyond what a number holds exactly. Never parseInt them.
const chatId = process.argv[2] ?? '42';
const connectionString = process.env.OUTBOX_DATABASE_URL;
if (!connectionString) throw new Error('set OUTBOX_DATABASE_URL to postgresql://user:password@host/database');
const pool = new pg.Pool({ connectionString });
// Without a listener the loss of an idle connection ends the process; the pool makes a new one by itself.
pool.on('error', (error) => console.error(`lost an idle connection: ${error.message}`));

/** Runs `work` in a transaction. One client for all of it: pool.query could take another, outside the transaction. */
async function inTransaction(work) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

/** The id of the message that is inserted. JSON.stringify: pg would make a PostgreSQL array of a JavaScript one. */
async function insertMessage(client, payload) {
  const { rows } = await client.query(
    'INSERT INTO outbox.message (chat_id, payload) VALUES ($1, $2) RETURNING id',
    [chatId, JSON.stringify(payload)],
  );
  return rows[0].id;
}

async function statusOf(client, id) {
  const { rows } = await client.query('SELECT status, telegram_message_id FROM outbox.status($1)', [id]);
  return rows[0];
}

/** Listens first, then asks for the notification, then looks: none is missed. On a client of its own, not a pool's. */
async function waitForEnd(id, timeoutS) {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    const deadline = Date.now() + timeoutS * 1000;
    await client.query('LISTEN outbox_ended');
    await client.query('SELECT outbox.watch($1, $2)', [id, timeoutS]);
    for (;;) {
      // Every two seconds at least: a notification is a hint, behind a transaction pooler there is none.
      const bell = once(client, 'notification', { signal: AbortSignal.timeout(2000) }).catch(() => {});
      const message = await statusOf(client, id);
      if (!['queued', 'sending'].includes(message.status) || Date.now() > deadline) return message;
      await bell;
    }
  } finally {
    await client.end();
  }
}

async function main() {
  await pool.query(`CREATE TABLE IF NOT EXISTS orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, chat_id bigint NOT NULL, state text NOT NULL)`);

  // The order and its message are committed together, or neither is.
  const { orderId, paid } = await inTransaction(async (client) => {
    const insert = "INSERT INTO orders (chat_id, state) VALUES ($1, 'paid') RETURNING id";
    const orderId = (await client.query(insert, [chatId])).rows[0].id;
    return { orderId, paid: await insertMessage(client, { text: `Order ${orderId} is paid` }) };
  });
  console.log(`order ${orderId} is paid, message ${paid} is committed with it`);

  // Rolled back, the message was never there: its id is spent, its status unknown.
  let refused;
  await inTransaction(async (client) => {
    await client.query("UPDATE orders SET state = 'refused' WHERE id = $1", [orderId]);
    refused = await insertMessage(client, { text: `Order ${orderId} is refused` });
    throw new Error('the card was not charged');
  }).catch((error) => console.log(error.message));
  console.log(`message ${refused} was rolled back with its order: ${(await statusOf(pool, refused)).status}`);

  // Scheduled for tomorrow, and cancelled with the change that made it needless. A Date is sent with its time zone.
  const tomorrow = new Date(Date.now() + 24 * 60 * 60 * 1000);
  const { rows: [{ id: reminder }] } = await pool.query(
    'INSERT INTO outbox.message (chat_id, payload, next_attempt_at) VALUES ($1, $2, $3) RETURNING id',
    [chatId, JSON.stringify({ text: `How was order ${orderId}?` }), tomorrow],
  );
  const cancelled = await inTransaction(async (client) => {
    await client.query("UPDATE orders SET state = 'returned' WHERE id = $1", [orderId]);
    const { rows } = await client.query('SELECT outbox.cancel($1) AS cancelled', [reminder]);
    return rows[0].cancelled;
  });
  console.log(`message ${reminder} was scheduled, and is cancelled: ${cancelled}`);

  // A retry of the same step, say after a lost connection: the key is used, so outbox.send gives the first one's id.
  const keyed = {
    text: 'SELECT outbox.send($1, $2, p_idempotency_key => $3) AS id',
    values: [chatId, JSON.stringify({ text: `Order ${orderId} is on its way` }), `order-${orderId}-shipped`],
  };
  const shipped = (await pool.query(keyed)).rows[0].id;
  const again = (await pool.query(keyed)).rows[0].id;
  console.log(`message ${shipped} has a key, and with that key again: message ${again}`);

  // An edit of a message of our own that has no Telegram id yet: the outbox puts it in, and sends it after that.
  const { rows: [{ id: edit }] } = await pool.query(
    `INSERT INTO outbox.message (chat_id, method, payload, target_id)
     VALUES ($1, 'editMessageText', $2, $3) RETURNING id`,
    [chatId, JSON.stringify({ text: `Order ${orderId} is paid and packed` }), paid],
  );
  console.log(`message ${edit} will edit message ${paid}`);

  // What could never be sent is refused at once, with what to do. It also ends the transaction it happens in.
  try {
    await insertMessage(pool, 'hi');
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    console.log(`refused: ${error.message}. ${error.hint}`);
  }

  // A chat is a lane: once the last message has ended, so have those before it.
  const last = await waitForEnd(edit, 30);
  for (const id of [paid, reminder, shipped, edit]) {
    const message = await statusOf(pool, id);
    console.log(`message ${id}: ${message.status}, Telegram's message id ${message.telegram_message_id}`);
  }
  if (last.status !== 'sent') {
    console.error(`message ${edit} is ${last.status}, not sent. Does a worker run? outbox up starts one.`);
    process.exitCode = 1;
  }
}

try {
  await main();
} finally {
  await pool.end();
}
