// One scenario of an unmodified grammY: node grammy.mjs <url of the simulator> <token> <name of the scenario>
import assert from "node:assert/strict";
import { Api, Bot, GrammyError, HttpError, InlineKeyboard, InputFile, InputMediaBuilder } from "grammy";

const [url, token, name] = process.argv.slice(2);
const api = new Api(token, { apiRoot: url });
const cat = () => new InputFile(Buffer.from("cat".repeat(1000)), "cat.jpg");

const scenarios = {
  async text() {
    const markup = new InlineKeyboard().text("Yes", "y");
    const message = await api.sendMessage(42, "hi", { reply_markup: markup });
    assert.deepEqual([message.message_id, message.chat.id, message.text], [1, 42, "hi"]);
    assert.equal(message.reply_markup.inline_keyboard[0][0].callback_data, "y");
    assert.equal((await api.editMessageText(42, 1, "new")).text, "new");
    assert.equal(await api.deleteMessage(42, 1), true);
  },

  async photo() {
    const sent = await api.sendPhoto(42, cat(), { caption: "cat" });
    assert.deepEqual([sent.caption, sent.photo.at(-1).file_size], ["cat", 3000]);
    const again = await api.sendPhoto(42, sent.photo.at(-1).file_id);
    assert.equal(again.photo.at(-1).file_id, sent.photo.at(-1).file_id);
    const file = await api.getFile(sent.photo.at(-1).file_id);
    const response = await fetch(`${url}/file/bot${token}/${file.file_path}`);
    assert.equal((await response.arrayBuffer()).byteLength, 3000);
  },

  async album() {
    const album = [InputMediaBuilder.photo(cat(), { caption: "one" }), InputMediaBuilder.photo("AgACfile")];
    const [first, second] = await api.sendMediaGroup(42, album);
    assert.equal(first.media_group_id, second.media_group_id);
    assert.deepEqual([first.caption, first.photo.at(-1).file_size], ["one", 3000]);
    assert.equal(second.photo.at(-1).file_id, "AgACfile");
  },

  async others() {
    assert.equal((await api.copyMessage(42, 43, 7)).message_id, 1);
    assert.ok((await api.forwardMessage(42, 43, 7)).forward_origin);
    assert.equal(await api.pinChatMessage(42, 1), true);
    assert.equal(await api.setMessageReaction(42, 1, [{ type: "emoji", emoji: "👍" }]), true);
    assert.equal((await api.sendPoll(42, "Tea?", [{ text: "yes" }, { text: "no" }])).poll.options.length, 2);
    assert.equal(await api.answerCallbackQuery("1"), true);
    assert.equal(await api.sendChatAction(42, "typing"), true);
    assert.equal((await api.getMe()).id, 1);
    assert.equal((await api.getChat(42)).type, "private");
    assert.equal(await api.setWebhook("https://example.org/hook"), true);
    assert.equal((await api.getWebhookInfo()).url, "https://example.org/hook");
    assert.equal(await api.deleteWebhook(), true);
  },

  async refusals() {
    const refused = (code) => (error) => error instanceof GrammyError && error.error_code === code;
    await api.sendMessage(1, "one");
    await assert.rejects(
      api.sendMessage(1, "two"),
      (error) => refused(429)(error) && error.parameters.retry_after === 1,
    );
    await assert.rejects(api.sendMessage(400, "hi"), refused(400));
    await assert.rejects(api.sendMessage(403, "hi"), refused(403));
    await assert.rejects(api.sendMessage(500, "hi"), HttpError);
  },

  async polling() {
    const bot = new Bot(token, { client: { apiRoot: url } });
    bot.command("start", (context) => context.reply(`Hello ${context.from.first_name}`));
    bot.callbackQuery("y", async (context) => {
      await context.answerCallbackQuery("pressed");
      await bot.stop();
    });
    await bot.start();
  },
};

await scenarios[name]();
