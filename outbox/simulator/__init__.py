"""A strict Telegram Bot API: true sliding windows, faults on demand, and a ledger of what it accepted and when.

It judges everything else here, so it imports nothing of ours. server.py answers, windows.py refuses, ledger.py
remembers, replies.py gives bodies their shape, faults.py breaks things on request.
"""
