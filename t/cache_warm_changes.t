# token_proxy_cache_warm while something changes: an address in DNS, a file with
# a secret, the configuration in the midst of a call. Nobody asks for a token here
# but to see that it is there.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 50;
use JSON::PP qw(decode_json);
use MIME::Base64 qw(decode_base64);
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Dns;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(free_port spew wait_for work_dir);

my $dir = work_dir();
my $dns = Token::Dns->new;
my $port = free_port();

chmod 0755, $dir;
$dns->stop;

# by what happens in the midst of the first call, which takes three seconds
my @RELOADS = qw(reload cut killed changed quit);
my %endpoint = map { $_ => Token::Endpoint->new } @RELOADS, 'changed_to';

$endpoint{$_}->next({ delay => 3 }) for @RELOADS;

$endpoint{file} = Token::Endpoint->new(expires_in => 4, secrets => ['one']);
$endpoint{root} = Token::Endpoint->new(secrets => ['root']);
$endpoint{here} = Token::Endpoint->new(address => '127.0.0.2', port => $port,
    expires_in => 4);
$endpoint{there} = Token::Endpoint->new(address => '127.0.0.3', port => $port,
    expires_in => 4);

$endpoint{renewal} = Token::Endpoint->new(expires_in => 20);
$endpoint{renewal}->next({}, { delay => 3, expires_in => 3600 });

put(secret => 'one');
put(id => 'my-id');
put(root => 'root');

my %nginx = (
    (map { $_ => server($endpoint{$_}->url) } @RELOADS),
    renewal => server($endpoint{renewal}->url,
        'token_proxy_refresh_before 18s'),
    file => server($endpoint{file}->url,
        "token_proxy_client_id file:$dir/id",
        "token_proxy_client_secret file:$dir/secret"),
    root => server($endpoint{root}->url,
        "token_proxy_client_secret file:$dir/root"),
    dns => server("http://idp.example:$port/token"),
);

$nginx{cut}->configure(main => 'worker_shutdown_timeout 1s;');
$nginx{root}->configure(user => 'nobody nogroup');
$nginx{dns}->configure(http => zone()
    . "resolver 127.0.0.1:@{[ $dns->port ]}; resolver_timeout 1s;");

$_->start for values %nginx;

pass('nginx starts before DNS does');
calls($_, 1, "$_: a call") for @RELOADS;


# in the midst of it
my %old = map { $_ => [$nginx{$_}->workers] } @RELOADS;

kill KILL => @{ $old{killed} };
kill QUIT => $nginx{quit}->pid;
$nginx{changed}->configure(server => site($endpoint{changed_to}->url));
$nginx{$_}->reload for qw(reload cut changed);

my $reloaded = time;


# in the midst of a renewal
{
    my $nginx = $nginx{renewal};
    my %seen;

    calls('renewal', 2, 'a renewal');
    $old{renewal} = [$nginx->workers];
    $nginx->reload;

    for (1 .. 10) {
        $seen{ status($nginx->get('/token')) }++;
        sleep 0.1;
    }

    is_deeply(\%seen, { HIT => 10 }, '... and a reload in its midst: callers get the token')
        or diag(explain \%seen);
    ok((wait_for { token($nginx->get('/token')) eq 'AT-2' } 5), '... and then the new one');
    is($endpoint{renewal}->calls, 2, '... of that call');
    gone('renewal', '... the old workers leave');
}


# meanwhile: DNS, and files
{
    my $nginx = $nginx{dns};

    ok((wait_for { $nginx->error_log =~ /idp\.example could not be resolved/ } 10),
        'no DNS: the log names the host');
    is($endpoint{here}->calls, 0, '... and nobody is called');

    $dns->set('idp.example', '127.0.0.2', 1);
    $dns->start;
    calls('here', 1, 'DNS is there: a call, after the backoff');
    hit($nginx, 'AT-1', '... and a token');

    $dns->set('idp.example', '127.0.0.3', 1);
    calls('there', 1, 'an address that changes: it is renewed there');
    ok((wait_for { status($nginx->get('/token')) eq 'HIT' } 5), '... without a caller');

    my $calls = $endpoint{here}->calls;

    calls('there', 2, '... again and again');
    is($endpoint{here}->calls, $calls, '... and nowhere else');

    $dns->stop;
    $nginx->reload;
    like(token($nginx->get('/token')) // '', qr/^AT-\d+$/,
        'a reload without DNS: the token stays');
    is(status($nginx->get('/token')), 'HIT', '... for all');
}

{
    my $nginx = $nginx{file};

    calls('file', 1, 'a secret in a file');
    is(client('file'), 'my-id:one', '... is what is sent');
    $endpoint{file}->answer(expires_in => 4, secrets => ['one', 'two']);
    put(secret => 'two');
    ok((wait_for { client('file') eq 'my-id:two' } 10),
        'it is replaced: a renewal without a caller sends the new one');
    $endpoint{file}->answer(expires_in => 4, secrets => ['two']);

    my $calls = $endpoint{file}->calls;

    calls('file', $calls + 1, '... and so on');
    is(scalar(grep { $_->{status} != 200 } $endpoint{file}->log), 0,
        '... and none was refused');
    is(status($nginx->get('/token')), 'HIT', '... and the token is there');

    # for the time that workers have it
    $nginx->reload;
    is(status($nginx->get('/token')), 'HIT', '... after a reload as well');
}

SKIP: {
    skip 'only root has workers of another user', 3 if $> != 0;

    calls('root', 1, 'a file for root alone');
    is(client('root'), 'my-key:root', '... is what was read at the start');
    hit($nginx{root}, 'AT-1', '... and the token is there');
}


# what has become of the calls
sleep 0.1 while time < $reloaded + 5;

is($endpoint{reload}->calls, 1, 'a reload in the midst of the call: no other one');
hit($nginx{reload}, 'AT-1', '... and new workers have its token');
gone('reload', '... the old ones leave');

wait_for { $endpoint{cut}->calls == 2 } 10;
is($endpoint{cut}->calls, 2, 'the same, cut by worker_shutdown_timeout: another call');
hit($nginx{cut}, 'AT-2', '... and new workers have its token');
gone('cut', '... the old ones leave');
like($nginx{cut}->get('/status')->{content}, qr/"backoff_entries":0\b/,
    '... and there is no backoff');

wait_for { $endpoint{killed}->calls == 2 } 10;
is($endpoint{killed}->calls, 2, 'all workers are killed in the midst: another call');
hit($nginx{killed}, 'AT-2', '... and those that follow have its token');

is($endpoint{changed_to}->calls, 1, 'a reload with another endpoint: it is called');
is($endpoint{changed}->calls, 1, '... the other one is not called again');
hit($nginx{changed}, 'AT-1', '... and its token is used');
gone('changed', '... the old workers leave');

gone('quit', 'QUIT in the midst: nginx leaves');
is($endpoint{quit}->calls, 1, '... without another call');


no_secrets($nginx{$_}, qr/my-id/) for qw(file dns reload cut);
$_->stop for values %nginx;


sub site {
    my ($url, @directives) = @_;

    return location('token', $url, 'token_proxy_cache_warm on',
        'token_proxy_retry_backoff 500ms 1s', @directives)
        . 'location = /status { token_proxy_status; access_log off; }';
}


sub server {
    my ($url, @directives) = @_;

    return Token::Server->new(workers => 2, http => zone(),
        server => site($url, @directives));
}


sub put {
    my ($name, $content) = @_;

    chmod 0600, spew("$dir/.new", $content);
    rename "$dir/.new", "$dir/$name" or die "$name: $!\n";
    return;
}


# Whether an endpoint is called so often in some seconds.
sub calls {
    my ($name, $n, $what) = @_;

    return ok((wait_for { $endpoint{$name}->calls >= $n } 10), $what);
}


# The client of the last call, by its Basic header.
sub client {
    my ($name) = @_;
    my ($basic) = ($endpoint{$name}->requests)[-1] =~ /^Authorization: Basic (\S+)/m;

    return decode_base64($basic // '');
}


# A caller gets the token at once.
sub hit {
    my ($nginx, $token, $what) = @_;
    my $got;

    wait_for { status($got = $nginx->get('/token')) eq 'HIT' } 5;
    return is_deeply([status($got), token($got)], ['HIT', $token], $what);
}


sub gone {
    my ($name, $what) = @_;

    return ok((wait_for { !grep { Token::Server::alive($_) } @{ $old{$name} } } 5), $what);
}
