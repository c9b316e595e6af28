# What a VALUE of a directive may be, and what nginx -t says of one that is
# probably not meant so: never the value.

use strict;
use warnings;
use lib 't/lib';

use MIME::Base64 qw(encode_base64);
use Test::More tests => 133;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(spew work_dir);

my $endpoint = Token::Endpoint->new;
my $nginx = Token::Server->new;
my $dir = work_dir();

spew("$dir/secret", "file\$secret\n");
chmod 0600, "$dir/secret";

my $NO_NAME = qr/\[emerg\].*the value of "(\w+)" has a "\$" without the name of a variable, write "literal:"/;
my $UNKNOWN = qr/\[emerg\].*the value of "(\w+)" has a "\$" before a name that is no variable's, write "literal:"/;
my $DIGIT = qr/\[warn\].*the value of "(\w+)" has a "\$" and a digit, .* write "literal:"/;
my $WORD = qr/\[warn\].*the value of "(\w+)" begins with a word and a colon, .* is taken as it is/;
my $ENCODING = qr/\[warn\].*the value of "(\w+)" has a character that endpoints may want form-encoded, set "encoding="/;

# what the user writes; what nginx -t says; of which directive; and the secret
# that is sent then, or what must not be shown where it is an error
for (
    # a dollar
    [q(token_proxy_client_secret 'pa$word'), $UNKNOWN, 'token_proxy_client_secret', undef, 'word'],
    [q(token_proxy_client_secret 'pa${word}s'), $UNKNOWN, 'token_proxy_client_secret', undef, 'word'],
    [q(token_proxy_client_secret 'pa${word'), $NO_NAME, 'token_proxy_client_secret', undef, 'word'],
    [q(token_proxy_client_secret 'word$'), $NO_NAME, 'token_proxy_client_secret', undef, 'word'],
    [q(token_proxy_client_secret 'word$$a'), $NO_NAME, 'token_proxy_client_secret', undef, 'word'],
    [q(token_proxy_client_secret 'word$-a'), $NO_NAME, 'token_proxy_client_secret', undef, 'word'],
    [q(token_proxy_client_secret 'pa$5word'), $DIGIT, 'token_proxy_client_secret', 'paword', 'word'],
    [q(token_proxy_client_id 'word$'), $NO_NAME, 'token_proxy_client_id', undef, 'word'],
    [q(token_proxy_param password 'pa$word'), $UNKNOWN, 'token_proxy_param', undef, 'word'],
    [q(token_proxy_auth_basic r; token_proxy_auth_basic_user me 'pa$word'), $UNKNOWN,
        'token_proxy_auth_basic_user', undef, 'word'],
    [q(token_proxy_client_secret 'file:/run/$word'), $UNKNOWN, 'token_proxy_client_secret', undef, 'word'],
    [q(token_proxy_client_secret 'literal:pa$word'), $ENCODING, 'token_proxy_client_secret', 'pa$word', 'word'],
    [q(token_proxy_client_secret 'literal:${'), $ENCODING, 'token_proxy_client_secret', '${'],
    [q(token_proxy_client_secret 'x$host'), undef, undef, 'x127.0.0.1'],
    [q(token_proxy_client_secret 'x${Host}y'), undef, undef, 'x127.0.0.1y'],
    [q(token_proxy_client_secret 'x$http_x_secret'), undef, undef, 'xmine'],
    [q(set $mine s; token_proxy_client_secret '$mine'), undef, undef, 's'],
    ["token_proxy_client_secret file:$dir/secret", $ENCODING, 'token_proxy_client_secret', 'file$secret', 'secret\n'],

    # a word and a colon
    [q(token_proxy_client_secret ENV:word), $WORD, 'token_proxy_client_secret', 'ENV:word', 'word'],
    [q(token_proxy_client_secret File:word), $WORD, 'token_proxy_client_secret', 'File:word', 'word'],
    [q(token_proxy_client_secret vault:word), $WORD, 'token_proxy_client_secret', 'vault:word', 'word'],
    [q(token_proxy_client_secret literal:ENV:word), $ENCODING, 'token_proxy_client_secret', 'ENV:word', 'word'],
    [q(token_proxy_client_secret literal:literal:a), $ENCODING, 'token_proxy_client_secret', 'literal:a'],
    [q(token_proxy_client_secret literal:), qr/\[emerg\].*the value of "(\w+)" is empty/, 'token_proxy_client_secret'],
    [q(token_proxy_client_secret a1:word), $ENCODING, 'token_proxy_client_secret', 'a1:word', 'word'],
    [q(token_proxy_param audience https://api.example.com), undef],
    [q(token_proxy_param scope api://app/.default), undef],
    [q(token_proxy_param resource urn:example:api), undef],

    # a character that is sent in two ways
    [q(token_proxy_client_secret a+b), $ENCODING, 'token_proxy_client_secret', 'a+b', 'a\+b'],
    [q(token_proxy_client_secret 'a b'), $ENCODING, 'token_proxy_client_secret', 'a b', 'a b'],
    [q(token_proxy_client_id a/b), $ENCODING, 'token_proxy_client_id'],
    [q(token_proxy_client_secret a-b_c.d*e), undef, undef, 'a-b_c.d*e'],
    [q(token_proxy_client_secret a+b; token_proxy_auth_method client_secret_basic encoding=raw), undef, undef, 'a+b'],
    [q(token_proxy_client_secret a+b; token_proxy_auth_method client_secret_basic encoding=form), undef, undef, 'a%2Bb'],
    [q(token_proxy_client_secret a+b; token_proxy_auth_method client_secret_post), undef],
) {
    my ($lines, $message, $directive, $sent, $hidden) = @$_;

    $nginx->configure(http => 'token_proxy_client_id my-key;'
        . ($lines =~ /client_secret/ ? '' : 'token_proxy_client_secret my-secret;'),
        server => "location = /token { token_proxy on; token_proxy_endpoint @{[ $endpoint->url ]};\n$lines; }");

    my ($status, $said) = $nginx->test;
    my @lines = grep { /\[(?:warn|emerg)\]/ } split /\n/, $said;
    my $error = $message && "$message" =~ /emerg/;

    is($status, $error ? 1 : 0, "$lines: nginx -t " . ($error ? 'fails' : 'passes'));

    if ($message) {
        like($lines[0] // '', qr/$message.* in \S+nginx\.conf:\d+$/, '... it says what is wrong, and where')
            && is(($lines[0] =~ $message)[0], $directive, '... and which directive it is');
    } else {
        is("@lines", '', '... it says nothing');
    }

    unlike($said =~ s/\S+nginx\.conf:\d+//gr =~ s/begins with a word//r, qr/$hidden/, '... it does not show the value')
        if defined $hidden;

    next if !defined $sent;

    $nginx->start;
    $endpoint->reset;
    $nginx->get('/token', 'X-Secret' => 'mine');

    my ($request) = $endpoint->requests;
    my $basic = encode_base64("my-key:$sent", '');

    like($request, qr/^Authorization: Basic \Q$basic\E\r$/m, '... what is sent');
    $nginx->stop;
}
