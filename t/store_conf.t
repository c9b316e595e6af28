# token_proxy_cache_store: what is wrong with it, nginx -t says.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use Token::Util qw($NGINX $MODULE spew work_dir);

my $dir = work_dir();
my $SECRET = 'hunter2-hunter2-hunter2';

mkdir "$dir/$_" for qw(conf logs);
spew("$dir/ca.pem", "none\n");
spew("$dir/secret", "$SECRET\n");
chmod 0600, "$dir/secret";

my $location = 'location = /token { token_proxy on; token_proxy_cache tokens; '
    . 'token_proxy_endpoint http://127.0.0.1:9/token; '
    . 'token_proxy_client_id id; token_proxy_client_secret s3cret; }';

# [name, arguments, what is said after [emerg] or undef, http lines, location]
my @cases = (
    ['a server', 'redis://127.0.0.1:6379', undef],
    ['no port', 'redis://127.0.0.1', undef],
    ['a database', 'redis://127.0.0.1:6379/3', undef],
    ['a name', 'redis://localhost:6379', undef],
    ['an address of IPv6', 'redis://[::1]:6379', undef],
    ['a Unix socket', "unix:$dir/socket", undef],
    ['sentinels', 'sentinel://127.0.0.1:26379,localhost/main', undef],
    ['a user', 'redis://cache@127.0.0.1 password=env:STORE_PASSWORD', undef],
    ['a password of a file', "redis://127.0.0.1 password=file:$dir/secret", undef],
    ['two keys', "redis://127.0.0.1 key=$SECRET key=file:$dir/secret", undef],
    ['times', 'redis://127.0.0.1 connect_timeout=50ms timeout=1s', undef],
    ['a prefix', 'redis://127.0.0.1 prefix=edge:tokens', undef],
    ['TLS', 'rediss://localhost', undef],
    ['TLS at an address', 'rediss://127.0.0.1 name=store.example.com', undef],
    ['a zone without it', 'redis://127.0.0.1', undef,
        'token_proxy_cache_zone zone=alone:1m store=off;'],

    ['no scheme', '127.0.0.1:6379', 'no "redis://", "rediss://", "unix:" or '
        . '"sentinel://" in the URL of "token_proxy_cache_store"'],
    ['http', "http://$SECRET\@127.0.0.1", 'no "redis://", "rediss://", "unix:" or '
        . '"sentinel://" in the URL of "token_proxy_cache_store"'],
    ['no host', 'redis://', 'no host in the URL of "token_proxy_cache_store"'],
    ['a wrong port', 'redis://127.0.0.1:99999',
        'invalid port in the URL of "token_proxy_cache_store"'],
    ['a wrong database', 'redis://127.0.0.1/x',
        'a wrong number of a database in the URL of "token_proxy_cache_store"'],
    ['two servers', 'redis://127.0.0.1:1,127.0.0.1:2',
        'more than one server in the URL of "token_proxy_cache_store"'],
    ['sentinels without a name', 'sentinel://127.0.0.1',
        'no name of a master in the URL of "token_proxy_cache_store"'],
    ['sentinels with an empty name', 'sentinel://127.0.0.1/',
        'a wrong name of a master in the URL of "token_proxy_cache_store"'],
    ['an empty sentinel', 'sentinel://127.0.0.1,,127.0.0.2/main',
        'no host in the URL of "token_proxy_cache_store"'],
    ['a password in the URL', "redis://user:$SECRET\@127.0.0.1",
        'a password, for which there is "password=", in the URL of '
        . '"token_proxy_cache_store"'],
    ['a variable', 'redis://$host', 'a variable in the URL of "token_proxy_cache_store"'],
    ['a user without a password', 'redis://cache@127.0.0.1',
        '"token_proxy_cache_store" has a user, and needs "password="'],
    ['an unknown host', 'redis://store.invalid',
        'host not found in "token_proxy_cache_store" "redis://store.invalid"'],

    ['an unknown parameter', "redis://127.0.0.1 secret=$SECRET",
        'invalid parameter "secret" in "token_proxy_cache_store"'],
    ['a parameter without a name', "redis://127.0.0.1 $SECRET",
        'invalid parameter "" in "token_proxy_cache_store"'],
    ['an empty parameter', 'redis://127.0.0.1 prefix=',
        'parameter "prefix" of "token_proxy_cache_store" is empty'],
    ['a parameter twice', 'redis://127.0.0.1 timeout=1s timeout=2s',
        'duplicate parameter "timeout" in "token_proxy_cache_store"'],
    ['three keys', "redis://127.0.0.1 key=$SECRET key=$SECRET key=$SECRET",
        'duplicate parameter "key" in "token_proxy_cache_store"'],
    ['a time of zero', 'redis://127.0.0.1 timeout=0',
        'parameter "timeout" of "token_proxy_cache_store" takes a time that is not zero'],
    ['a wrong time', 'redis://127.0.0.1 connect_timeout=soon',
        'parameter "connect_timeout" of "token_proxy_cache_store" takes a time that '
        . 'is not zero'],
    ['a brace', '"redis://127.0.0.1" "prefix=a{b"',
        'parameter "prefix" of "token_proxy_cache_store" has a character that a key '
        . 'may not have'],
    ['a long prefix', 'redis://127.0.0.1 prefix=' . 'x' x 65,
        'parameter "prefix" of "token_proxy_cache_store" has more than 64 characters'],
    ['a key with variables', 'redis://127.0.0.1 key=$host$SECRET',
        'parameter "key" of "token_proxy_cache_store" takes no variables'],
    ['a password with variables', 'redis://127.0.0.1 password=$host',
        'parameter "password" of "token_proxy_cache_store" takes no variables'],
    ['a key that is not there', 'redis://127.0.0.1 key=env:STORE_NONE',
        'environment variable "STORE_NONE" of "token_proxy_cache_store" is not set: a '
        . 'command by hand needs it as the service does'],

    ['a certificate without TLS', "redis://127.0.0.1 trusted_certificate=$dir/ca.pem",
        '"token_proxy_cache_store" needs rediss:// for "trusted_certificate="'],
    ['a name without TLS', 'redis://127.0.0.1 name=store',
        '"token_proxy_cache_store" needs rediss:// for "name="'],
    ['a file that is no certificate', "rediss://localhost trusted_certificate=$dir/ca.pem",
        "no certificate is read from \"$dir/ca.pem\" of \"trusted_certificate=\""],
    ['TLS at an address, without a name', 'rediss://127.0.0.1',
        '"token_proxy_cache_store" "rediss://127.0.0.1" has no host name to verify its '
        . 'certificate by, use a name or "name="'],

    ['twice', 'redis://127.0.0.1', '"token_proxy_cache_store" directive is duplicate',
        'token_proxy_cache_store redis://127.0.0.2;'],
    ['another parameter of the zone', 'redis://127.0.0.1',
        'invalid parameter "store=on" in "token_proxy_cache_zone", it takes store=off',
        'token_proxy_cache_zone zone=alone:1m store=on;'],
    ['no secret to seal with', 'redis://127.0.0.1',
        '"token_proxy_cache_store" needs "key=": there is no client secret in location '
        . '"/token" to seal its tokens with', '',
        $location =~ s/token_proxy_client_secret s3cret/token_proxy_auth_method none/r],
    ['no secret, and a key', "redis://127.0.0.1 key=$SECRET", undef, '',
        $location =~ s/token_proxy_client_secret s3cret/token_proxy_auth_method none/r],
    ['no secret, and no store', 'redis://127.0.0.1', undef,
        'token_proxy_cache_zone zone=alone:1m store=off;',
        $location =~ s/token_proxy_client_secret s3cret/token_proxy_auth_method none/r
                  =~ s/token_proxy_cache tokens/token_proxy_cache alone/r],
);

plan(tests => 3 * @cases + 4);


# What nginx -t says of a store, more lines of http, a location, more of its zone,
# and of "events".
sub says {
    my ($store, $http, $inside, $zone, $events) = @_;
    $_ //= '' for $zone, $events;

    spew("$dir/conf/nginx.conf", <<"END");
load_module $MODULE;
error_log stderr;
pid $dir/logs/nginx.pid;
env STORE_PASSWORD;
events { $events }
http {
    access_log off;
    token_proxy_cache_zone zone=tokens:1m $zone;
    token_proxy_cache_store $store;
    $http
    server { listen 127.0.0.1:1; $inside }
}
END

    local $ENV{STORE_PASSWORD} = $SECRET;
    delete local $ENV{STORE_NONE};

    my $said = `'$NGINX' -t -p '$dir' -c '$dir/conf/nginx.conf' 2>&1`;

    return ($said, $?);
}


for my $case (@cases) {
    my ($name, $store, $message, $http, $inside) = @$case;
    my ($said, $status) = says($store, $http // '', $inside // $location);

    if (defined $message) {
        isnt($status, 0, "$name: nginx does not start");
        like($said, qr{\[emerg\] (?:\d+\#\d+: )?\Q$message\E in \S+/nginx\.conf:\d+$}m,
            '... and says why');

    } else {
        is($status, 0, "$name: nginx starts") or diag($said);
        unlike($said, qr/\[(?:warn|error|emerg)\]/, '... and says nothing');
    }

    unlike($said, qr/\Q$SECRET\E/, '... no secret');
}


# what is only said
{
    my ($said) = says('redis://127.0.0.1 key=short', '', $location);

    like($said, qr/\[warn\] .*parameter "key" of "token_proxy_cache_store" is so short/,
        'a short key is a warning');

    ($said) = says('redis://127.0.0.1', '', $location, 'store=off');
    like($said, qr/\[warn\] .*"token_proxy_cache_store" is of no use without/,
        'a store that no zone has is a warning');

    # a listening socket, the channel, what workers tell each other, the store
    for (['3', qr/3 worker_connections are not enough/], ['4', qr/test is successful/]) {
        ($said) = says('redis://127.0.0.1', '', $location, '', "worker_connections $_->[0];");
        like($said, $_->[1], "$_->[0] connections of a worker");
    }
}
