# Callers of every kind at every kind of location: each gets its own answer, in
# time, and leaves nothing behind. CALLERS_ONLY is a pattern of names, such as
# "plain: .*late", for a part of them; CALLERS_TLS=1 asks all by TLS.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use Time::HiRes qw(sleep time);
use Token::Backend;
use Token::Callers;
use Token::Fleet;
use Token::Loop;
use Token::Redis;
use Token::Server;
use Token::Shapes;
use Token::Util qw(settled wait_for);

my $only = $ENV{CALLERS_ONLY};
my $backend = Token::Backend->new;
my $store = Token::Redis->new->start;
my $callers = Token::Callers->new($backend, store => $store->url . $PATIENT);
my $nginx = Token::Server->new($callers->configuration, listen => 'sndbuf=64k');

$callers->prepare($nginx);

my @scripts = scripts();
my %groups;

push @{ $groups{"$_->{location}{name}, $_->{group}"} }, $_ for @scripts;

plan(tests => keys(%groups) + ($only ? 10 : 11));
cmp_ok(scalar(@scripts), '>=', 3000, 'combinations') if !$only;

$nginx->start;
$callers->prime($nginx);

my ($worker) = $nginx->workers;
my $loop = Token::Loop->new(port => $nginx->port, tls_port => $callers->tls_port);

# what a worker opens once
$loop->run([map { Token::Shapes->script({ name => 'first', group => 'first',
    make => sub { $_[0]->ask->await } }, $_) } used()]);

my $before = settled { descriptors() };
my $start = time;
my $alive = $loop->run(\@scripts, tick => sub { !worker_lives() });
my $seconds = time - $start;

diag(sprintf '%d combinations, %d answers, %.0f s; the longest turn took %.1f s',
    scalar @scripts, $loop->{answers}, $seconds, $loop->{lag});

ok($alive, 'no worker has died') or diag(murderers()), exit 1;

for my $group (sort keys %groups) {
    my @wrong = grep { $_->{wrong} } @{ $groups{$group} };

    ok(!@wrong, sprintf '%s: %d', $group, scalar @{ $groups{$group} });
    diag("$_->{name}: $_->{wrong}") for @wrong;
}

cmp_ok($seconds, '<', 120, 'it takes less than two minutes');
ok((wait_for { active() == 1 } 8), 'no connection is left')
    or diag(active(), ' connections');
cmp_ok((settled { descriptors() }), '<=', $before, 'no descriptor is left');
is(($nginx->workers)[0], $worker, 'the worker is the same one');
quiet($nginx, 'the error log');

$nginx->stop('QUIT');
quiet($nginx, 'after QUIT, the error log');

ends_in_time();


# Every shape at every location; by TLS at some.
sub scripts {
    my @all;
    my %by_tls = map { $_ => 1 } qw(plain miss wait refresh proxy_miss ssi);
    my %cut = (plain => 1, miss => 2, wait => 5, proxy_miss => 3, refresh => 5);

    for my $shape (Token::Shapes->all) {
        for my $location ($callers->locations) {
            for my $tls ($ENV{CALLERS_TLS} ? 1 : $by_tls{ $location->{name} } ? (0, 1) : 0) {
                my $script = Token::Shapes->script($shape, $location,
                    $tls ? (tls => 1) : ()) or next;

                $script->{group} .= ' by TLS' if $tls;
                $script->{name} .= ' by TLS' if $tls;
                push @all, $script;
            }
        }
    }

    for my $location ($callers->locations) {
        my $step = $cut{ $location->{name} } or next;
        push @all, Token::Shapes->cuts($location, $step);
    }

    @all = grep { $_->{name} =~ /$only/ } @all if $only;
    return map { (Token::Shapes->company($_), $_) } @all;
}


# The locations that are asked.
sub used {
    my %used = map { $_->{location}{name} => $_->{location} } @scripts;

    return map { $used{$_} } sort keys %used;
}


sub worker_lives {
    my @now = $nginx->workers;

    return @now && $now[0] == $worker;
}


# Who it was: those that were being played when the worker died, or had just
# left, one by one.
sub murderers {
    my $died = time;
    my @suspects = grep { $_->{cut} || ($_->{ended} // 0) > $died - 1 } @scripts;
    my %shapes = map { $_->{name} => $_ } Token::Shapes->all;
    my @found;

    for my $script (@suspects) {
        wait_for { $nginx->workers } 5 or last;

        my ($victim) = $nginx->workers;
        my $shape = $shapes{ $script->{shape} } or next;
        my $again = Token::Shapes->script($shape, $script->{location},
            tls => $script->{tls});

        $loop->run([$again], tick => sub { !kill 0, $victim });
        sleep 0.3;

        push @found, $script->{name} if (($nginx->workers)[0] // 0) != $victim;
        last if @found >= 5 || time - $died > 60;
    }

    return join "\n", 'the worker died; alone, it dies of:', @found ? @found : 'none';
}


sub descriptors { return scalar(() = glob "/proc/$worker/fd/*") }


sub active {
    my $got = $nginx->get('/stub', Connection => 'close');

    return $got->{content} =~ /Active connections: (\d+)/ ? $1 : -1;
}


sub quiet {
    my ($server, $name) = @_;
    my @lines = grep { /\[(?:alert|crit|emerg)\]|open socket|exited on signal/ }
        split /\n/, $server->error_log;

    is(scalar(@lines), 0, "$name: nothing alarming")
        or diag(join "\n", @lines > 10 ? @lines[0 .. 9] : @lines);
    return;
}


# Fault 4: a worker that is to go in a second does so, whatever is fetched.
sub ends_in_time {
    my $leaving = Token::Callers->new($backend, main => "worker_shutdown_timeout 1s;\n",
        read_timeout => '60s', store => $store->url . $PATIENT);
    my $server = Token::Server->new($leaving->configuration);

    $leaving->prepare($server);
    $server->start;

    my ($pid) = $server->workers;
    my @waiting = map { my $s = $server->connect; $s->autoflush;
        print $s "GET $_?n=last&how=silent HTTP/1.1\r\nHost: a\r\n\r\n"; $s }
        qw(/plain /miss /wait /chain /chain_miss /api/proxy /api/proxy_miss);

    ok((wait_for { ($backend->count->{'token last'} // 0) >= 3 } 5),
        'worker_shutdown_timeout: tokens are being fetched');

    $store->freeze;
    push @waiting, map { my $s = $server->connect; $s->autoflush;
        print $s "GET $_?n=last HTTP/1.1\r\nHost: a\r\n\r\n"; $s }
        qw(/stored /stored_chain /api/proxy_stored);
    sleep 0.2;

    kill QUIT => $server->pid;
    ok((wait_for { !kill 0, $pid } 4), '... and the worker ends in time');
    quiet($server, '... the error log');
    $store->thaw;
    return;
}
