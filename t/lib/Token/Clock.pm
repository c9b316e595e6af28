package Token::Clock;

# A wall clock that a test sets for the nginx that it starts, and for nothing
# else: other clocks of that nginx, timers among them, go on as they are.
#
#     my $clock = Token::Clock->new;       # undef where there is no compiler
#     my $nginx = Token::Server->new(env => $clock->env, ...)->start;
#     $clock->set(3600);                   # an hour ahead of the true time
#     $clock->set(-3600);                  # ... behind it

use strict;
use warnings;

use Token::Util qw($ROOT preload spew work_dir);


sub new {
    my ($class) = @_;
    my $dir = work_dir();
    my $library = preload("$ROOT/t/clock/wall.c", $dir) // return undef;
    my $self = bless { file => "$dir/ahead", library => $library }, $class;

    spew($self->{file}, pack 'q', 0);
    return $self;
}


sub env { return { LD_PRELOAD => $_[0]{library}, TEST_CLOCK => $_[0]{file} } }


# Written into the file, which nginx has mapped.
sub set {
    my ($self, $seconds) = @_;

    open my $out, '+<:raw', $self->{file} or die "$self->{file}: $!\n";
    syswrite $out, pack 'q', $seconds * 1e6;
    close $out;
    return;
}

1;
