# One location for many tenants: each has credentials and an endpoint of its
# own.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 43;
use MIME::Base64 qw(decode_base64 encode_base64);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Client;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(spew wait_for);

my $TENANTS = 500;
my $endpoint = Token::Endpoint->new;

my $nginx = Token::Server->new(
    http => <<"END",
    token_proxy_cache_zone  zone=tokens:4m;
    map_hash_bucket_size    128;
    map_hash_max_size       4096;

    map \$host \$tenant {
        default  "";
        @{[ map { "t$_.example.com $_;\n" } 1 .. $TENANTS ]}
    }
END
    server => <<"END",
        location = /token {
            if (\$tenant = "") {
                return 404;
            }

            token_proxy                on;
            token_proxy_endpoint       @{[ $endpoint->url ]}/\$tenant;
            token_proxy_client_id      id-\$tenant;
            token_proxy_client_secret  file:\@DIR\@/secrets/\$tenant;
            token_proxy_cache          tokens;
            add_header                 X-Cache \$token_proxy_cache_status always;
        }

        location = /any {
            token_proxy                on;
            token_proxy_endpoint       @{[ $endpoint->url ]};
            token_proxy_client_id      any;
            token_proxy_client_secret  file:\@DIR\@/secrets/\$arg_file;
            token_proxy_file_valid     3s;
        }

        location = /fresh {
            token_proxy                on;
            token_proxy_endpoint       @{[ $endpoint->url ]};
            token_proxy_client_id      fresh;
            token_proxy_client_secret  file:\@DIR\@/secrets/\$arg_file;
            token_proxy_file_valid     0;
        }
END
);

mkdir $nginx->dir . '/secrets';
secret($_, "secret-$_") for 1 .. $TENANTS;
spew($nginx->dir . '/outside', 'outside-secret');
spew($nginx->dir . '/secrets/..hidden', "dots-secret\r\n");
spew($nginx->dir . '/secrets/empty', '');
spew($nginx->dir . '/secrets/long', 'x' x 70_000);
mkdir $nginx->dir . '/secrets/directory';
$nginx->start;


# each its own
{
    my %tokens;
    my $wrong = 0;

    for my $tenant (1 .. $TENANTS) {
        my $got = get($tenant);
        $tokens{ token($got) // '' }++;
        $wrong++ if status($got) ne 'MISS';
    }

    is(scalar(keys %tokens), $TENANTS, "$TENANTS tenants, $TENANTS tokens");
    is($wrong, 0, '... none of another');
    is($endpoint->calls, $TENANTS, '... a call for each');

    my @bad = grep {
        my ($tenant) = m{^POST /token/(\d+) };
        my ($basic) = /^Authorization: Basic (\S+)/m;
        decode_base64($basic) ne "id-$tenant:secret-$tenant";
    } $endpoint->requests;

    is_deeply(\@bad, [], '... with its own credentials');

    $wrong = grep { status(get($_)) ne 'HIT' || !token(get($_)) } 1 .. $TENANTS;
    is($wrong, 0, '... and kept');
    is($endpoint->calls, $TENANTS, '... without another call');
}


# an unknown one
{
    my $calls = $endpoint->calls;

    is(get('unknown')->{status}, 404, 'an unknown tenant');
    is($endpoint->calls, $calls, '... costs no call');
}


# files
{
    $endpoint->reset;
    secret('one', 'secret-1');
    is(any('one')->{status}, 200, 'a file');
    like(sent(), qr/:secret-1$/, '... is the secret');

    my $time = time;

    secret('one', 'changed-secret');
    any('one');
    like(sent(), qr/:secret-1$/, '... is kept for a while');

    $nginx->get('/fresh?file=one');
    like(sent(), qr/:changed-secret$/, '... but not with token_proxy_file_valid 0');

    my $read = wait_for { any('one'); sent() =~ /:changed-secret$/ } 10;
    ok($read, '... and read again');
    cmp_ok(time - $time, '<', 6, '... after token_proxy_file_valid');

    secret('one', 'another-secret');
    any('one');
    like(sent(), qr/:changed-secret$/, '... and kept again');

    $nginx->get('/fresh?file=one');
    like(sent(), qr/:another-secret$/, '... while another location reads it');
    any('one');
    like(sent(), qr/:another-secret$/, '... for all');

    is(any('..hidden')->{status}, 200, 'a name that begins with two dots');
    like(sent(), qr/:dots-secret$/, '... without its line end');

    my $calls = $endpoint->calls;

    for my $path ('../outside', '..', '1/../../outside', './../outside', 'none',
        'empty', 'long', 'directory', '')
    {
        my $got = any($path);

        is($got->{status}, 500, "file:$path");
        like($got->{content}, qr/^\{"error":"server_error"/, '... in JSON');
    }

    is($endpoint->calls, $calls, '... the endpoint is not called');

    my $log = $nginx->error_log;

    like($log, qr/\[error\].*leaves its directory/, 'the log tells of ".."');
    like($log, qr/\[error\].*"[^"]*secrets\/none" failed/, '... of no file');
    like($log, qr/\[error\].*secrets\/long" is too large/,
        '... of one that is too long');

    is(get(2)->{status}, 200, 'the others go on');
}

$nginx->stop('QUIT');
no_secrets($nginx, qr/secret-\d|changed-secret|another-secret|outside-secret|dots-secret/,
    map { encode_base64("id-$_:secret-$_", '') } 1, 2, $TENANTS);


sub secret { return spew($nginx->dir . "/secrets/$_[0]", "$_[1]\n") }

sub get {
    my ($tenant) = @_;

    return Token::Client::response($nginx->raw("GET /token HTTP/1.1\r\n"
        . "Host: t$tenant.example.com\r\nConnection: close\r\n\r\n"));
}

sub any { return $nginx->get("/any?file=$_[0]") }

sub sent {
    my ($basic) = ($endpoint->requests)[-1] =~ /^Authorization: Basic (\S+)/m;

    return decode_base64($basic);
}
