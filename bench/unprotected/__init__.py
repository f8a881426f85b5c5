"""The service without protection: a pairing API as its predecessor was built.

Every request opens a database connection, writes its audit rows before it answers, and locks its
rows before it looks whether it may do anything with them. Nothing counts or limits the requests.
It speaks the calls that the stampede makes and nothing else, and it shares no code with the
service it is compared with.
"""
