"""What a hostile sender puts where a name, an address or a number is expected."""

from __future__ import annotations

from hypothesis import strategies as st

#: Would run if it stood in a page as it is.
MARK = "hostile9"
XSS = (
    f"<script>{MARK}()</script>",
    f'"><img src=x onerror={MARK}()>',
    f"'><svg/onload={MARK}()>",
    f"</title></textarea></template><script>{MARK}()</script>",
    f"javascript:{MARK}()",
    f"<a href='javascript:{MARK}()'>{MARK}</a>",
)
TEMPLATES = (
    "{{7777*7}}",
    "{% raw %}{{ request.app }}",
    "${7*7}",
    "#{7*7}",
    "<%= 7*7 %>",
    "%(x)s",
    "{0.__class__}",
    "%n%s%x",
)
TRAVERSAL = (
    "../../../../etc/passwd",
    "..\\..\\..\\windows\\win.ini",
    "/etc/passwd",
    "~root/.ssh/id_rsa",
    "~nobody-of-that-name/x",
    "....//....//etc/passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "file:///etc/passwd",
    "..",
    ".",
)
LINES = (
    "a\r\nset-cookie: hostile9=1",
    "a\nLocation: http://evil.example/",
    "a\u2028b\u2029c\x85d",
    "a\x00b",
    "\x1b[2J\x1b]0;hostile9\x07",
    "a\r\n\r\n<script>hostile9()</script>",
)
NUMBERS = (
    "-1",
    "0",
    "1.5",
    "1e400",
    "NaN",
    "Infinity",
    "9" * 30,
    "9" * 5000,
    "0x10",
    "１２",
    "²",
    "1_000",
    " 1 ",
    "-0",
    "",
)
TEXTS = (
    "",
    " ",
    "\u202eevil",
    "A" * 5_000,
    "😀" * 300,
    "ﷺ" * 300,
    "' OR 1=1 --",
    '"; DROP TABLE job; --',
    "null",
    "[]",
    "True",
)
#: Ways to write this machine, its neighbours, and the address where clouds keep their keys.
INSIDE = (
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST.",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::1]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "169.254.169.254",
    "2852039166",
    "[::ffff:169.254.169.254]",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
)
EVERY = (*XSS, *TEMPLATES, *TRAVERSAL, *LINES, *NUMBERS, *TEXTS, *(f"http://{host}/" for host in INSIDE), *INSIDE)

some_text = st.one_of(
    st.sampled_from(EVERY), st.text(max_size=40), st.integers(-(10**12), 10**12).map(str), st.floats().map(str)
)
