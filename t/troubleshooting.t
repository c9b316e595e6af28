# docs/troubleshooting.md has an entry for each line that the module can log at
# warn or above, and for each error that a caller can get, and no others. So
# does the table "What a caller gets" of docs/directives.md for status and error.

use strict;
use warnings;

use lib 't/lib';
use Test::More;
use Token::Util qw($ROOT slurp source sources);

plan(tests => 14);

my $page = slurp("$ROOT/docs/troubleshooting.md");
my %headers = map { s{.*/}{}r => slurp($_) } glob "$ROOT/ngx_http_token_module/{,*/}*.h";
my @headers = values %headers;

# What is between quotes in C, with the macros that are strings.
my %macro = (ngx_close_file_n => 'close()', map { /^#define +(NGX_HTTP_TOKEN_\w+) +\\?\s*"([^"]*)"/mg } @headers);
my %status = (BAD_REQUEST => 400, UNAUTHORIZED => 401, FORBIDDEN => 403,
    NOT_ALLOWED => 405, LENGTH_REQUIRED => 411, REQUEST_ENTITY_TOO_LARGE => 413,
    INTERNAL_SERVER_ERROR => 500, BAD_GATEWAY => 502, SERVICE_UNAVAILABLE => 503,
    GATEWAY_TIME_OUT => 504);

my $string = qr/"(?:\\.|[^"\\])*"/;
my $text = qr/(?:(?:$string|[A-Za-z_]\w+)\s+)*$string(?:\s+[A-Z]\w+(?:\s+$string)+)?/;

sub said {
    my ($c) = @_;

    return join '', map { /^"(.*)"$/s ? $1 =~ s/\\(.)/$1/gr : $macro{$_} // die "no macro $_\n" }
        $c =~ /$string|\w+/g;
}


# The lines: what stands for "%V" and the like is "...".
my %lines;

for my $file (sources()) {
    my $c = slurp($file) =~ s{/\*.*?\*/}{}gsr;
    my $name = $file =~ s{.*/}{}r;

    # each call, so that none is missed which is written in another way
    while ($c =~ /\b((?:ngx_(?:conf_|ssl_)?(?:log_error|error)|ngx_http_token_log)\s*\((?:[^;"]|$string)*;)/g) {
        my $call = $1;

        next if $call =~ /NGX_LOG_(?:NOTICE|INFO|DEBUG)\w*,/;
        next if $call =~ /^ngx_http_token_log\(ngx_uint_t level/;
        next if $call =~ /"%\*s in %s:%ui"/;        # ngx_http_token_log()

        my ($format) = $call =~ /^\w+\s*\([^"]*?,\s*($text)/s;

        $lines{$format ? said($format) =~ s/%(?:-|\*|\d|\.)*(?:u[izA]|ux|[A-Za-z])/…/gr =~ s/(?:…)+/…/gr : "$name: $call"} = $name;
    }
}

# The page: tables after the headings that have such lines.
my ($lines) = $page =~ /^## While nginx serves\n(.*?)^## Did nginx read/ms;
my %entries = map { $_ => 1 } ($lines // '') =~ /^\| `([^`]+)` \| \S.*\S \| \S.*\S \|$/mg;
my @missing = grep { !$entries{$_} } sort keys %lines;
my @extra = grep { !$lines{$_} } sort keys %entries;

cmp_ok(scalar(keys %lines), '>', 95, 'the sources have lines');
cmp_ok(scalar(keys %entries), '>', 95, 'the page has entries');
is(scalar(@missing), 0, 'every line at warn or above has an entry')
    or diag(map { "docs/troubleshooting.md has no row of three columns for this line of $lines{$_}:\n| `$_` |\n" } @missing);
is(scalar(@extra), 0, 'every entry is a line')
    or diag(map { "docs/troubleshooting.md has a row for a line that no source has:\n| `$_` |\n" } @extra);

# Known lines of each kind, so that the above sees them.
ok($lines{$_}, "$_: is seen") for
    'close() "…" failed',
    'token endpoint "…" answered …',
    'environment variable "…" of "…" is not set: a command by hand needs it as the service does',
    '"token_proxy_grant_type urn:ietf:params:oauth:grant-type:jwt-bearer" needs "token_proxy_private_key", or "token_proxy_param assertion"';


# The errors
my %errors;
my $answer = source('ngx_http_token_answer.c');

sub error {
    my ($status, $error, $description) = @_;
    $errors{join ' | ', $status{$status} // die("status $status\n"), "`$error`", $description} = 1;
}

my ($failures) = $answer =~ /ngx_http_token_failures\[\] = \{(.*?)^\};/ms;

error($1, said($2), said($3))
    while $failures =~ /\{ NGX_HTTP_(?!OK)(\w+), ($string),\s*($text) \}/g;

for my $file (sources()) {
    my $c = slurp($file);
    my @refusals = $c =~ /ngx_http_token_cors_refuse\(r,\s*($text)\);/g;

    while ($c =~ /ngx_http_token_send_error\(\w+,\s*NGX_HTTP_(\w+),\s*($string),\s*($text|text)\)/g) {
        my ($status, $error, $description) = ($1, $2, $3);

        # ngx_http_token_cors_refuse() has it as a parameter
        error($status, said($error), said($_))
            for $description eq 'text' ? @refusals : $description;
    }
}

error('UNAUTHORIZED', $1, $2)
    if said(source('ngx_http_token_basic.c') =~ /basic_error = ngx_string\(\s*($text)\)/ ? $1 : '""')
        =~ /"error":"(.*?)","error_description":"(.*?)"/;

my ($table) = $page =~ /^## What a caller gets\n(.*?)^## /ms;
my %rows = map { $_ => 1 } ($table // '') =~ /^\| (\d+ \| `\w+` \| [^|]+?) \| \S[^|]*\S \| \S[^|]*\S \|$/mg;

cmp_ok(scalar(keys %errors), '>=', 19, 'the sources have errors');
is_deeply([sort keys %rows], [sort keys %errors],
    'docs/troubleshooting.md: status, error and error_description of each');

# The other table tells each cause: what its rows have for each description.
my %causes = (
    'A page of another origin may ask by CORS only.' => ['without CORS'],
    'A valid user name and password are required.' => ['no correct user name and password'],
    'The length of the request is missing.' => ['no `Content-Length`'],
    'The refresh token is missing.' => ['no refresh token'],
    'The refresh token is not valid.' => ["refused the caller's refresh token"],
    'The request is malformed.' => ['a form that cannot be read'],
    'The request is too large.' => ['more than 8192 bytes'],
    'The scope is not valid.' => ["refused the caller's scope"],
    'The token endpoint could not be reached.' => ['cannot be reached'],
    'The token endpoint did not answer in time.' => ['is too slow', 'has waited for [token_proxy_lock_timeout]'],
    'The token endpoint failed a moment ago, try again later.' => ['failed a moment ago'],
    'The token endpoint failed.' => ['another 5xx'],
    'The token endpoint gave an invalid answer.' => ['not a JSON object', 'without a token and with another error', 'a redirect'],
    'The token endpoint gave no complete answer.' => ['closes the connection early', 'is too large'],
    'The token endpoint is busy, try again later.' => ['429 or 503', 'with the error `temporarily_unavailable`'],
    'The token endpoint refused the request.' => ['refused the credentials or the request'],
    'The token request cannot be made.' => ['request cannot be made', 'memory or connections'],
    'This grant type is not supported.' => ['another grant type'],
    'This method is not allowed.' => ['another method'],
    'This origin is not allowed.' => ['origin is not allowed'],
);

my %pairs = map { join(' | ', (split / \| /)[0, 1]) => 1 } keys %errors;
my ($gets) = slurp("$ROOT/docs/directives.md") =~ /^## What a caller gets\n(.*?)^## /ms;
my %said;       # by status and error, the causes

push @{ $said{"$2 | $3"} }, $1
    while ($gets // '') =~ /^\| (.+?) \| (\d+)[^|]* \| (`\w+`) \|$/mg;

is_deeply([sort keys %said], [sort keys %pairs],
    'docs/directives.md, "What a caller gets": status and error of each');

my (@unsaid, %known);

for (sort keys %errors) {
    my ($pair, $description) = /^(\d+ \| `\w+`) \| (.*)$/;

    for my $cause (@{ $causes{$description} // ['?'] }) {
        my @found = grep { index($_, $cause) >= 0 } @{ $said{$pair} // [] };

        push @unsaid, "$pair: $description $cause" if @found != 1;
        $known{$_} = 1 for @found;
    }
}

is_deeply(\@unsaid, [], '... and each cause, in one row');
is_deeply([grep { !$known{$_} } map { @$_ } values %said], [], '... and no other');
is(join(' ', sort grep { !/access_denied|invalid_|server_error|temporarily_unavailable|unsupported_grant_type/ } keys %pairs),
    '', 'no error is another than those of RFC 6749');
